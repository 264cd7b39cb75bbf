use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind, Value};
use crate::tensor::{HostTensor, Layout, Shape};

/// Elements of one block of the optimizer's table of groups.
pub(super) const ALIGN: usize = 64;

/// Elements to which ranges in a page are aligned: 256 bytes as f16, WebGPU's alignment of bindings.
const SPAN_ALIGN: usize = 2 * ALIGN;

/// Where one tensor lies in a page list.
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
    tensors: Vec<(String, Shape, Span)>,
    by_name: HashMap<String, usize>,
    page_lens: Vec<usize>,
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

    /// The span of a parameter or statistic of any of the program's graphs.
    pub fn span(&self, graph: &Graph, value: Value) -> Span {
        let node = &graph.nodes()[value.node];
        let set = match node.kind {
            NodeKind::Parameter(_) | NodeKind::Gradient => &self.parameters,
            NodeKind::Statistic(_) => &self.statistics,
            _ => unreachable!("only parameters, their gradients and statistics lie in pages"),
        };
        set.span(&node.name).expect("Pages::of has checked that every graph's tensors are in the pages")
    }
}

impl PageSet {
    /// Name, shape and place of each tensor, in order.
    pub fn tensors(&self) -> &[(String, Shape, Span)] {
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

    /// Where a tensor lies.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.by_name.get(name).map(|&index| self.tensors[index].2)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.by_name.get(name).map(|&index| &self.tensors[index].1)
    }

    /// Zeroed pages.
    pub fn zeroed<T: Default + Clone>(&self) -> Vec<Vec<T>> {
        self.page_lens.iter().map(|&len| vec![T::default(); len]).collect()
    }

    /// Name, shape and elements of each tensor in pages, to be overwritten.
    pub fn parts<'a>(&'a self, pages: &'a mut [Vec<f32>]) -> Vec<(&'a str, &'a Shape, &'a mut [f32])> {
        let mut rest: Vec<&mut [f32]> = pages.iter_mut().map(Vec::as_mut_slice).collect();
        let end = |rest: &[&mut [f32]], page: usize| self.page_lens[page] - rest[page].len();
        let parts = self.tensors.iter().map(|(name, shape, span)| {
            let padding = span.offset - end(&rest, span.page);
            let of_page = std::mem::take(&mut rest[span.page]);
            let (part, after) = of_page.split_at_mut(padding).1.split_at_mut(span.len);
            rest[span.page] = after;
            (name.as_str(), shape, part)
        });
        parts.collect()
    }

    /// Copies a tensor, given in PyTorch's order, into pages.
    pub fn store(&self, pages: &mut [Vec<f32>], name: &str, data: &[f32]) {
        let Some(&index) = self.by_name.get(name) else { return };
        let (_, shape, span) = &self.tensors[index];
        let part = &mut pages[span.page][span.offset..span.offset + span.len];
        Layout::of(shape).write_physical(data, part);
    }

    /// All tensors of pages, in PyTorch's order.
    pub fn load<'a>(&'a self, pages: &'a [Vec<f32>]) -> impl Iterator<Item = (&'a str, HostTensor)> {
        self.tensors.iter().map(|(name, shape, span)| {
            let physical = &pages[span.page][span.offset..span.offset + span.len];
            (name.as_str(), HostTensor::new(shape.clone(), Layout::of(shape).to_logical(physical)))
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
        let (len, limit) = (shape.numel(), (max_page_bytes / 4) as usize);
        let aligned = len.next_multiple_of(SPAN_ALIGN);
        if aligned > limit {
            return Err(Error::Model(format!(
                "has a tensor \"{name}\" {shape} of {} MiB, but the device binds at most {} MiB at once; use \
                 --device cpu or a narrower layer",
                (len * 4) >> 20,
                max_page_bytes >> 20
            )));
        }
        if self.page_lens.last().is_none_or(|used| used + aligned > limit) {
            self.page_lens.push(0);
        }
        let page = self.page_lens.len() - 1;
        let span = Span { page, offset: self.page_lens[page], len };
        self.page_lens[page] += aligned;
        self.by_name.insert(name.to_string(), self.tensors.len());
        self.tensors.push((name.to_string(), shape.clone(), span));
        Ok(())
    }
}
