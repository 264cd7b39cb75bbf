use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind, Value};
use crate::tensor::{HostTensor, Layout, Shape};

/// Elements of one block of the optimizer's table of groups.
pub(super) const ALIGN: usize = 64;

/// Elements to which ranges in a page are aligned: 256 bytes as f16, WebGPU's alignment of bindings.
const SPAN_ALIGN: usize = 2 * ALIGN;

/// Rows of the first dimension by which a tensor is cut into parts: tiles of most kernels; where a row is so long that these
/// do not fit, the least that keeps vectors of four whole.
const ROWS: [usize; 2] = [64, 4];

/// Where a tensor, or a part of one, lies in a page list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The page.
    pub page: usize,
    /// First element in the page.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
}

/// Named tensors laid out in pages.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    tensors: Vec<(String, Shape, Vec<Span>)>,
    by_name: HashMap<String, usize>,
    page_lens: Vec<usize>,
}

/// Where a tensor lies in pages, in its parts.
#[derive(Debug)]
pub struct TensorPlace<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a Shape,
    parts: Vec<&'a mut [f32]>,
}

impl TensorPlace<'_> {
    /// Overwrites it by a tensor in PyTorch's order.
    pub fn write(self, data: &[f32]) {
        let layout = Layout::of(self.shape);
        match <[&mut [f32]; 1]>::try_from(self.parts) {
            Ok([whole]) => layout.write_physical(data, whole),
            Err(parts) => {
                let physical = layout.to_physical(data);
                let mut rest = physical.as_slice();
                for part in parts {
                    let (own, after) = rest.split_at(part.len());
                    part.copy_from_slice(own);
                    rest = after;
                }
            }
        }
    }
}

/// The layout of parameters (and gradients and optimizer state) and of running statistics.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// Trained tensors.
    pub parameters: PageSet,
    /// Running statistics.
    pub statistics: PageSet,
}

impl Pages {
    /// Lays out the tensors of the first graph; the others must not have more.
    pub fn of(graphs: &[Graph], max_page_bytes: u64) -> Result<Pages> {
        let mut pages = Pages::default();
        for (index, graph) in graphs.iter().enumerate() {
            for (set, values) in
                [(&mut pages.parameters, graph.parameters()), (&mut pages.statistics, graph.statistics())]
            {
                for value in values {
                    set.add_or_check(graph, value, index == 0, max_page_bytes)?;
                }
            }
        }
        Ok(pages)
    }

    /// The spans of a parameter or statistic of any of the program's graphs: several if it is larger than a page.
    pub fn spans(&self, graph: &Graph, value: Value) -> &[Span] {
        let node = &graph.nodes()[value.node];
        let set = match node.kind {
            NodeKind::Parameter(_) | NodeKind::Gradient => &self.parameters,
            NodeKind::Statistic(_) => &self.statistics,
            _ => unreachable!("only parameters, their gradients and statistics lie in pages"),
        };
        set.spans(&node.name).expect("Pages::of has checked that every graph's tensors are in the pages")
    }

    /// The one span of a tensor, for what takes tensors whole: the host, whose pages have no limit, and all that is no
    /// matrix.
    pub fn span(&self, graph: &Graph, value: Value) -> Span {
        match self.spans(graph, value) {
            [span] => *span,
            _ => unreachable!("only matrices larger than what a GPU binds at once lie in parts"),
        }
    }

    /// Which indices along the first dimension lie in which part, of a tensor that lies in several.
    pub fn parts(&self, graph: &Graph, value: Value) -> Option<Vec<Range<usize>>> {
        let spans = self.spans(graph, value);
        if spans.len() < 2 {
            return None;
        }
        let (rows, len) = (graph.shape(value)[0], graph.shape(value).numel());
        let mut next = 0;
        let range = |span: &Span| {
            let first = next;
            next += span.len / (len / rows);
            first..next
        };
        Some(spans.iter().map(range).collect())
    }
}

impl PageSet {
    /// Name, shape and place of each tensor, in order; a place has several spans if the tensor is larger than a page.
    pub fn tensors(&self) -> &[(String, Shape, Vec<Span>)] {
        &self.tensors
    }

    /// Elements of each page.
    pub fn page_lens(&self) -> &[usize] {
        &self.page_lens
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.page_lens.iter().map(|len| *len as u64 * 4).sum()
    }

    /// Where a tensor lies, in parts of consecutive elements of memory.
    pub fn spans(&self, name: &str) -> Option<&[Span]> {
        self.by_name.get(name).map(|&index| self.tensors[index].2.as_slice())
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.by_name.get(name).map(|&index| &self.tensors[index].1)
    }

    /// Zeroed pages.
    pub fn zeroed<T: Default + Clone>(&self) -> Vec<Vec<T>> {
        self.page_lens.iter().map(|&len| vec![T::default(); len]).collect()
    }

    /// Each tensor's place in pages, to be overwritten.
    pub fn places<'a>(&'a self, pages: &'a mut [Vec<f32>]) -> Vec<TensorPlace<'a>> {
        let mut rest: Vec<&mut [f32]> = pages.iter_mut().map(Vec::as_mut_slice).collect();
        let mut take = |span: &Span| {
            let of_page = std::mem::take(&mut rest[span.page]);
            let padding = span.offset - (self.page_lens[span.page] - of_page.len());
            let (part, after) = of_page.split_at_mut(padding).1.split_at_mut(span.len);
            rest[span.page] = after;
            part
        };
        let place = |(name, shape, spans): &'a (String, Shape, Vec<Span>)| TensorPlace {
            name,
            shape,
            parts: spans.iter().map(&mut take).collect(),
        };
        self.tensors.iter().map(place).collect()
    }

    /// All tensors of pages, in PyTorch's order.
    pub fn load<'a>(&'a self, pages: &'a [Vec<f32>]) -> impl Iterator<Item = (&'a str, HostTensor)> {
        self.tensors.iter().map(|(name, shape, spans)| {
            let parts = spans.iter().map(|span| &pages[span.page][span.offset..span.offset + span.len]);
            let physical = parts.collect::<Vec<_>>().concat();
            (name.as_str(), HostTensor::new(shape.clone(), Layout::of(shape).to_logical(&physical)))
        })
    }

    fn add_or_check(&mut self, graph: &Graph, value: Value, add: bool, max_page_bytes: u64) -> Result<()> {
        let (name, shape) = (&graph.nodes()[value.node].name, graph.shape(value));
        match self.shape(name) {
            Some(known) if known == shape => Ok(()),
            Some(known) => Err(Error::Model(format!("has \"{name}\" twice, as {known} and as {shape}"))),
            None if add => self.add(name, shape, max_page_bytes),
            None => Err(Error::Model(format!("has \"{name}\" in evaluation only"))),
        }
    }

    fn add(&mut self, name: &str, shape: &Shape, max_page_bytes: u64) -> Result<()> {
        let limit = (max_page_bytes / 4) as usize;
        let Some(lens) = part_lens(shape, limit) else {
            let (what, len) = if shape.len() < 2 {
                ("a tensor", shape.numel())
            } else {
                ("rows of", shape[1..].iter().product())
            };
            return Err(Error::Model(format!(
                "has {what} \"{name}\" {shape} of {} MiB, but the device binds at most {} MiB at once; use \
                 --device cpu or a narrower layer",
                (len * 4) >> 20,
                max_page_bytes >> 20
            )));
        };
        let spans = lens.into_iter().map(|len| self.place(len, limit)).collect();
        self.by_name.insert(name.to_string(), self.tensors.len());
        self.tensors.push((name.to_string(), shape.clone(), spans));
        Ok(())
    }

    /// The next place for so many elements: in the last page if they fit there, else in a new one.
    fn place(&mut self, len: usize, limit: usize) -> Span {
        let aligned = len.next_multiple_of(SPAN_ALIGN);
        if self.page_lens.last().is_none_or(|used| used + aligned > limit) {
            self.page_lens.push(0);
        }
        let page = self.page_lens.len() - 1;
        let span = Span { page, offset: self.page_lens[page], len };
        self.page_lens[page] += aligned;
        span
    }
}

/// Elements of the parts of a tensor, of at most `limit` elements each: one if it fits, else of a matrix some whole rows
/// each. None where neither is possible.
fn part_lens(shape: &Shape, limit: usize) -> Option<Vec<usize>> {
    let (len, limit) = (shape.numel(), limit / SPAN_ALIGN * SPAN_ALIGN);
    if len <= limit {
        return Some(vec![len]);
    }
    let row = len / shape.first().filter(|_| shape.len() > 1)?;
    let rows = ROWS.map(|unit| limit / row / unit * unit).into_iter().find(|rows| *rows > 0)?;
    Some((0..len).step_by(rows * row).map(|first| (rows * row).min(len - first)).collect())
}
