//! The gradients of one of several processes: added over its shards, then over all processes, on the CPU or where they
//! are. The order is the same (see [`Tree`]), so both have the same bits.

use tch::{Device, Kind, Tensor};
use textgen::kernels::Kernels;
use textgen::train::{Distributed, EngineError, Sum, Tree, tree_levels};

use crate::graph::Uploads;
use crate::parameters::all_floats;

/// Collective operations on a device's memory, as `torch.distributed` names them. All processes call the same ones in
/// the same order; each returns when its result is there.
pub trait Collectives {
    /// Sends `send[r]` to rank r; `receive`, of the same shape (N, …), gets what was sent to this rank, by the rank of
    /// its sender.
    fn all_to_all(&self, send: &Tensor, receive: &mut Tensor) -> Result<(), EngineError>;
    /// `receive` (N·n) gets `own` (n) of every rank.
    fn all_gather(&self, own: &Tensor, receive: &mut Tensor) -> Result<(), EngineError>;
}

/// The sum of the gradients of a batch, of which this process has some shards.
pub enum Gradients {
    /// Added on the CPU, by the operations of the group of processes.
    Cpu(Sum),
    /// Added on the device.
    Device {
        /// How it reaches the other processes' devices.
        collectives: Box<dyn Collectives>,
        /// The sums of this process's shards.
        tree: Tree<Tensor>,
        /// The losses of its shards.
        losses: Vec<f64>,
    },
}

impl Gradients {
    /// Of a device that reaches the others by `collectives`.
    pub const fn on_device(collectives: Box<dyn Collectives>) -> Self {
        Self::Device {
            collectives,
            tree: Tree::new(0),
            losses: Vec::new(),
        }
    }

    /// Begins a sum, of which this process has the shards from number `first` on.
    pub fn begin(&mut self, first: usize) {
        match self {
            Self::Cpu(sum) => sum.begin(first),
            Self::Device { tree, losses, .. } => {
                *tree = Tree::new(first);
                losses.clear();
            }
        }
    }

    /// Adds the gradients of the next shard, one per parameter, and its loss.
    pub fn add(&mut self, gradients: &[Tensor], loss: f64) {
        match self {
            Self::Cpu(sum) => sum.add(Kernels::new(), all_floats(gradients), loss),
            Self::Device { tree, losses, .. } => {
                losses.push(loss);
                let flat: Vec<Tensor> = gradients.iter().map(|one| one.flatten(0, -1)).collect();
                tree.push(0, Tensor::cat(&flat, 0), add);
            }
        }
    }

    /// The sum over all `shards` shards of the batch, `size` numbers on `device`, and that of their losses.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if a process wants to stop.
    pub fn reduce(
        &mut self,
        distributed: &Distributed,
        (size, device): (usize, Device),
        shards: usize,
        stopped: bool,
    ) -> Result<(Tensor, f64), EngineError> {
        match self {
            Self::Cpu(sum) => {
                let (total, losses) =
                    distributed.reduce(sum, Kernels::new(), size, shards, stopped)?;
                let flat = Uploads::new(device).floats(&total);
                sum.recycle(total);
                Ok((flat, losses))
            }
            Self::Device {
                collectives,
                tree,
                losses,
            } => {
                let count = |rank| distributed.share_of(rank, shards).len();
                // First, since only this notices at once that a process has gone.
                let gathered = distributed.gather(losses, count, stopped)?;
                if gathered.stopped {
                    return Err(EngineError::Stopped);
                }
                let total = reduce(&**collectives, distributed, tree, size, shards)?;
                Ok((total, gathered.values.iter().sum()))
            }
        }
    }
}

/// [`Distributed::reduce`] by a device: every rank adds a piece of the gradients and gives the sum to all.
fn reduce(
    collectives: &dyn Collectives,
    distributed: &Distributed,
    tree: &Tree<Tensor>,
    size: usize,
    shards: usize,
) -> Result<Tensor, EngineError> {
    let ranks = distributed.size();
    let levels = |rank| tree_levels(distributed.share_of(rank, shards));
    let most = (0..ranks).map(|rank| levels(rank).len()).max().unwrap_or(0);
    let piece = size.div_ceil(ranks);
    let [all, nodes, pieces] = [ranks, most, piece].map(|count| count as i64);
    let device = tree.nodes().next().map_or(Device::Cpu, Tensor::device);
    // Those of the nodes that this rank has, and zeros.
    let send = Tensor::zeros([all, nodes, pieces], (Kind::Float, device));
    for (node, values) in (0..).zip(tree.nodes()) {
        let padded = values.constant_pad_nd([0, all * pieces - size as i64]);
        send.select(1, node).copy_(&padded.view([all, pieces]));
    }
    let mut received = send.zeros_like();
    collectives.all_to_all(&send, &mut received)?;
    let mut own = Tree::new(0);
    for rank in 0..ranks {
        let of_rank = received.get(rank as i64);
        for (level, node) in levels(rank).into_iter().zip(0..) {
            own.push(level, of_rank.get(node), add);
        }
    }
    let own = own.total(add).unwrap_or_else(|| received.get(0).get(0));
    let mut total = Tensor::zeros([all * pieces], (Kind::Float, device));
    collectives.all_gather(&own.contiguous(), &mut total)?;
    Ok(total.narrow(0, 0, size as i64))
}

#[allow(clippy::needless_pass_by_value)] // as `Tree` has it
fn add(left: Tensor, right: Tensor) -> Tensor {
    left + right
}
