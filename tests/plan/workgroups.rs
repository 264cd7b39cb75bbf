//! Products with more tiles than a dispatch has workgroups in a row.

use wgrad::graph::{Capabilities, Graph, Mode, Scalar, TensorDesc};
use wgrad::ops::Layer;
use wgrad::ops::conv2d::Conv2d;
use wgrad::plan::{Command, Plan, Program};

#[test]
fn tiles_are_spread_over_x_and_y() {
    let mut graph = Graph::new(Mode::Train);
    let input = graph.input("input", TensorDesc::f32([64, 1, 512, 512]));
    let output = Conv2d::new(1, 1).build(&mut graph, input).unwrap();
    graph.output("output", output);
    let program = Program::new(vec![graph], None, 128 << 20).unwrap();
    let large = Capabilities { max_storage_binding: 1 << 30, max_buffer: 1 << 30, ..Capabilities::PORTABLE };
    let plan = Plan::lower(&program, &program.graphs[0], &large).unwrap();
    let [Command::Dispatch { dispatch, .. }] = &plan.commands[..] else { panic!("{:?}", plan.commands) };
    let tiles = dispatch.uniforms.iter().find(|(name, _)| *name == "tiles_m").unwrap();
    let Scalar::U32(tiles) = tiles.1 else { panic!("{tiles:?}") };
    let [x, y, z] = dispatch.workgroups;
    assert!(tiles > large.max_workgroups && x <= large.max_workgroups, "{tiles} tiles in {x} x {y} x {z}");
    assert!(x * y >= tiles && x * (y - 1) < tiles && z == 1, "{tiles} tiles in {x} x {y} x {z}");
}
