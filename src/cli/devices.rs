use serde::Serialize;

use super::DevicesArgs;
use super::cooperative;
use super::report::Column::{Number, Text};
use super::report::{say, table};
use crate::error::{Error, Result};
use crate::gpu::{AdapterKind, adapters};
use crate::graph::Tier;
use crate::train::CacheFolder;

#[derive(Serialize)]
struct Row {
    device: String,
    name: String,
    kind: String,
    backend: String,
    driver: String,
    max_binding_mib: Option<u64>,
    tier: Option<Tier>,
    cooperative: Option<String>,
}

/// `wgrad devices`
pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let found = pollster::block_on(adapters());
    let cache = CacheFolder::of_user();
    let mut rows: Vec<Row> = found
        .iter()
        .map(|adapter| Row {
            device: adapter.index.to_string(),
            name: adapter.name.clone(),
            kind: format!("{:?}", adapter.kind).to_lowercase(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            max_binding_mib: Some(adapter.capabilities().max_storage_binding >> 20),
            tier: Some(adapter.capabilities().tier),
            cooperative: (!adapter.cooperative_ways().is_empty()).then(|| {
                let verdict = cooperative::known(adapter, cache.as_ref());
                verdict.map_or("not tried yet".to_string(), |verdict| verdict.summary())
            }),
        })
        .collect();
    rows.push(Row {
        device: "cpu".to_string(),
        name: format!("{} threads", rayon::current_num_threads()),
        kind: "native".to_string(),
        backend: "CPU path".to_string(),
        driver: String::new(),
        max_binding_mib: None,
        tier: None,
        cooperative: None,
    });
    if args.json {
        say(serde_json::to_string_pretty(&rows).map_err(|error| Error::NoDevice(error.to_string()))?);
        return Ok(());
    }
    let texts = ["--device", "name", "kind", "backend", "driver"].map(Text);
    let mut shown = table(&[&texts[..], &[Number("largest binding"), Text("tier")]].concat());
    for row in &rows {
        let binding = row.max_binding_mib.map_or(String::new(), |mib| format!("{mib} MiB"));
        let tier = row.tier.map_or("", Tier::name);
        let verdict = row.cooperative.as_ref().map_or(String::new(), |verdict| format!(" ({verdict})"));
        let tier = format!("{tier}{verdict}");
        shown.add_row([&row.device, &row.name, &row.kind, &row.backend, &row.driver, &binding, &tier]);
    }
    say(shown);
    let hardware = found.iter().any(|adapter| adapter.kind != AdapterKind::Software);
    let chosen = if hardware { "the best hardware GPU" } else { "cpu" };
    say(format!("--device auto takes {chosen} here"));
    Ok(())
}
