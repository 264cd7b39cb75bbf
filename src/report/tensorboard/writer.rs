//! Event files: records of a length, its checksum, a message and its checksum (TFRecord).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use prost::Message;

use super::proto::{
    Dim, Event, HParam, HParamValue, HParamsPluginData, Histogram, Image, Kind, PluginData, SessionLog,
    SessionStartInfo, SessionStatus, Summary, SummaryMetadata, Tensor, TensorShape, Value, What,
};
use crate::error::{Error, Result};
use crate::report::picture::Picture;
use crate::train::weights::Tensors;

/// Buckets of a histogram.
const BUCKETS: usize = 40;

/// An event file that is being written.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in a folder. What other files of the folder say of steps after `done` is void from now on.
    pub fn create(folder: &Path, done: u64) -> Result<EventFile> {
        let seconds = now() as u64;
        for number in 0.. {
            // TensorBoard looks for `tfevents` in names, and reads files in the order of their names.
            let path = folder.join(format!("events.out.tfevents.{seconds}.{number:03}.wgrad"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = EventFile { path, file };
                    events.write(0, What::FileVersion("brain.Event:2".to_string()))?;
                    let start = SessionLog { status: SessionStatus::Start.into() };
                    events.write(done + 1, What::SessionLog(start))?;
                    return Ok(events);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
        unreachable!("one of 2^31 numbers is free")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record.
    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let event = Event { wall_time: now(), step, what: Some(what) };
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }

    fn values(&mut self, step: u64, value: Vec<Value>) -> Result<()> {
        if value.is_empty() { Ok(()) } else { self.write(step, What::Summary(Summary { value })) }
    }

    /// Numbers by their names.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        let value = |&(tag, value): &(&str, f64)| plain(tag, Kind::SimpleValue(value as f32));
        self.values(step, scalars.iter().map(value).collect())
    }

    /// The distribution of each tensor's elements.
    pub fn histograms(&mut self, step: u64, tensors: &Tensors) -> Result<()> {
        let histograms = tensors.iter().filter_map(|(name, tensor)| {
            // `conv1.weight` is listed under `conv1`.
            let tag = match name.rsplit_once('.') {
                Some((layer, kind)) => format!("{layer}/{kind}"),
                None => name.clone(),
            };
            histogram(&tensor.data).map(|histogram| plain(&tag, Kind::Histo(histogram)))
        });
        self.values(step, histograms.collect())
    }

    /// Pictures under one name.
    pub fn pictures(&mut self, step: u64, tag: &str, pictures: &[Picture]) -> Result<()> {
        let value = |(index, picture): (usize, &Picture)| {
            let image = Image {
                height: picture.height as i32,
                width: picture.width as i32,
                colorspace: 3,
                encoded: picture.png.clone(),
            };
            let tag = if pictures.len() == 1 { tag.to_string() } else { format!("{tag}/{index}") };
            plain(&tag, Kind::Image(image))
        };
        self.values(step, pictures.iter().enumerate().map(value).collect())
    }

    /// The run's settings.
    pub fn settings(&mut self, run: &str, settings: &IndexMap<String, String>) -> Result<()> {
        let hparam = |text: &String| {
            let kind = match (text.parse(), text.parse()) {
                (Ok(value), _) => HParamValue::Bool(value),
                (_, Ok(value)) => HParamValue::Number(value),
                _ => HParamValue::Text(text.clone()),
            };
            HParam { kind: Some(kind) }
        };
        let hparams = settings.iter().map(|(key, value)| (key.clone(), hparam(value))).collect();
        let start = SessionStartInfo { hparams, group_name: run.to_string(), start_time_secs: now() };
        let content = HParamsPluginData { version: 0, session_start_info: Some(start) }.encode_to_vec();
        let plugin_data = Some(PluginData { plugin_name: "hparams".to_string(), content });
        let nothing = Tensor { dtype: 1, shape: Some(TensorShape { dim: vec![Dim { size: 0 }] }) };
        let value = Value {
            tag: "_hparams_/session_start_info".to_string(),
            metadata: Some(SummaryMetadata { plugin_data }),
            value: Some(Kind::Tensor(nothing)),
        };
        self.values(0, vec![value])
    }
}

fn plain(tag: &str, value: Kind) -> Value {
    Value { tag: tag.to_string(), metadata: None, value: Some(value) }
}

/// Seconds since 1970, by which TensorBoard orders events.
#[expect(clippy::disallowed_methods, reason = "events carry the time of day; nothing depends on it")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A message with its length and checksums.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let sums = [masked(&length), masked(message)].map(u32::to_le_bytes);
    [&length[..], &sums[0], message, &sums[1]].concat()
}

/// The checksum of TFRecord: turned by 15 bits and moved, because sums of data that holds sums are weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Equal buckets from the lowest to the highest value; none if no value is finite.
fn histogram(values: &[f32]) -> Option<Histogram> {
    let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
    let (min, max) = (finite().min_by(f64::total_cmp)?, finite().max_by(f64::total_cmp)?);
    let width = if max > min { (max - min) / BUCKETS as f64 } else { 1e-12 };
    let mut bucket = vec![0.0; BUCKETS];
    for value in finite() {
        bucket[(((value - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
    }
    Some(Histogram {
        min,
        max,
        num: bucket.iter().sum(),
        sum: finite().sum(),
        sum_squares: finite().map(|value| value * value).sum(),
        bucket_limit: (1..=BUCKETS).map(|limit| min + width * limit as f64).collect(),
        bucket,
    })
}

/// The messages of an event file; an error where a length or a checksum is wrong.
pub fn read_events(bytes: &[u8]) -> Result<Vec<Event>, String> {
    let mut events = vec![];
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(12).ok_or("half a length")?;
        let (length, sum) = head.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        if number(sum) != u64::from(masked(length)) {
            return Err("the checksum of a length is wrong".to_string());
        }
        let length = usize::try_from(number(length)).map_err(|error| error.to_string())?;
        let (message, tail) = tail.split_at_checked(length).ok_or("half a message")?;
        let (sum, tail) = tail.split_at_checked(4).ok_or("half a checksum")?;
        if number(sum) != u64::from(masked(message)) {
            return Err("the checksum of a message is wrong".to_string());
        }
        events.push(Event::decode(message).map_err(|error| error.to_string())?);
        rest = tail;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_as_tensorflow_frames_them() {
        // The first record of every file that TensorFlow writes at time 0, from its own writer.
        let event =
            Event { wall_time: 0.0, step: 0, what: Some(What::FileVersion("brain.Event:2".to_string())) };
        let bytes = record(&event.encode_to_vec());
        assert_eq!(bytes[..8], [15, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..27], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(read_events(&bytes).unwrap(), [event]);
        for cut in 1..bytes.len() {
            assert!(read_events(&bytes[..cut]).is_err(), "{cut}");
        }
        // CRC-32C of "123456789" is published as e3069283.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn histograms_count_finite_values() {
        let found = histogram(&[0.0, 1.0, f32::NAN, 2.0, 4.0, f32::INFINITY]).unwrap();
        assert_eq!(
            (found.min, found.max, found.num, found.sum, found.sum_squares),
            (0.0, 4.0, 4.0, 7.0, 21.0)
        );
        assert_eq!((found.bucket[0], found.bucket[10], found.bucket[39]), (1.0, 1.0, 1.0));
        assert_eq!(histogram(&[2.0, 2.0]).unwrap().bucket[0], 2.0);
        assert_eq!(histogram(&[f32::NAN]), None);
    }
}
