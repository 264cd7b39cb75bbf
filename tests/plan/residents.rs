//! Data that stays with a session: given once, shared by the graphs that name it.

use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Capabilities, Graph, Mode, Step, TensorDesc};
use wgrad::ops::gather_batch::GatherBatch;
use wgrad::plan::{BINDING_UNIT, Data, MemoryUse, Plan, Program, Resident};
use wgrad::tensor::DType;
use wgrad::train::{Device, Session};

/// Gathers `batch` of `stored` images of 3 channels and 1 by 3 pixels.
fn graph(stored: usize, batch: usize) -> Graph {
    let mut graph = Graph::new(Mode::Eval);
    let images = graph.resident("images", TensorDesc::u8([stored, 3, 1, 3]));
    let labels = graph.resident("labels", TensorDesc::i32([stored]));
    let table = graph.resident("table", TensorDesc::f32([3, 256]));
    let indices = graph.input("indices", TensorDesc::i32([batch]));
    let gather = GatherBatch { dtype: DType::F32 };
    let gathered = graph.apply(gather, &[images, labels, indices, table]).expect("shapes fit");
    graph.output("images", gathered[0]);
    graph
}

fn program(graphs: Vec<Graph>) -> wgrad::Result<Program> {
    Program::new(graphs, None, 128 << 20)
}

#[test]
fn graphs_share_what_was_written_once() {
    let mut devices = vec![Device::Cpu];
    for adapter in block_on(gpu::adapters()) {
        devices.push(Device::Gpu(Arc::new(block_on(Gpu::open(&adapter)).unwrap())));
    }
    // 63 bytes: the last word is not whole.
    let images: Arc<Vec<u8>> = Arc::new((0..63).map(|i| i * 4).collect());
    let table: Arc<Vec<f32>> = Arc::new((0..768u16).map(|i| f32::from(i) / 3.0).collect());
    for device in devices {
        let program = Arc::new(program(vec![graph(7, 2), graph(7, 5)]).unwrap());
        assert_eq!(program.resident_bytes(), 64 + 28 + 3072);
        let mut session = block_on(Session::new(&device, program.clone())).unwrap();
        let mut keep = |name, data| block_on(session.write_resident(name, &data));
        keep("images", Resident::Bytes(images.clone())).unwrap();
        keep("labels", Resident::Int(Arc::new(vec![0; 7]))).unwrap();
        keep("table", Resident::Real(table.clone())).unwrap();
        let error = keep("labels", Resident::Int(Arc::new(vec![0; 6]))).unwrap_err().to_string();
        assert_eq!(
            error,
            "the input \"labels\" was given 6 elements of I32, it takes 7 elements of I32 ([7])"
        );
        let error = keep("lables", Resident::Int(Arc::new(vec![0; 7]))).unwrap_err().to_string();
        assert!(error.contains("no data \"lables\""), "{error}");
        for (graph, indices) in [vec![6, -1], vec![0, 3, 6, 7, 1]].iter().enumerate() {
            block_on(session.prepare(graph)).unwrap();
            session.submit(graph, &[("indices", Data::Int(indices))], &Step::default()).unwrap();
            let finished = block_on(session.collect(0)).unwrap().unwrap();
            let want = indices.iter().flat_map(|&index: &i32| {
                let (images, table) = (&images, &table);
                (0..9).map(move |at| match index {
                    0..7 => table[at % 3 * 256 + usize::from(images[index as usize * 9 + at])],
                    _ => 0.0,
                })
            });
            let want: Vec<f32> = want.collect();
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&finished.outputs["images"]), bits(&want), "{} {indices:?}", device.name());
        }
        if let Some(bytes) = session.device_bytes() {
            let lower = |graph| Plan::lower(&program, graph, &Capabilities::PORTABLE).unwrap();
            let memory = MemoryUse::of(&program, &program.graphs.iter().map(lower).collect::<Vec<_>>());
            let sum =
                |counts: &[u64]| -> u64 { counts.iter().map(|n| n.next_multiple_of(BINDING_UNIT)).sum() };
            assert_eq!(memory.data, sum(&[64, 28, 3072, 8, 20]), "residents once, each graph's indices");
            assert_eq!(memory.activations, sum(&[180, 20]), "both graphs' outputs in the same memory");
            assert_eq!(bytes, memory.total());
        }
    }
}

#[test]
fn graphs_that_disagree_about_a_resident_are_refused() {
    let error = program(vec![graph(7, 2), graph(8, 2)]).unwrap_err().to_string();
    assert!(error.contains("keeps \"images\" as [7, 3, 1, 3] in one graph, as [8, 3, 1, 3]"), "{error}");
}
