//! Which group of processes this one belongs to, and how it joins.

use std::ffi::CString;
use std::net::{Ipv4Addr, ToSocketAddrs as _, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use textgen::cli::error::CliError;
use textgen::train::{GroupError, ProcessGroup};

use crate::shim::{Gloo, Meeting};

/// What a process of one host gets from the one that started it: the folder in which they meet, and in which a process
/// that fails says why.
pub const FOLDER: &str = "TEXTGEN_GROUP";
/// The file in it by which they meet.
const MEET: &str = "meet";
/// The port on which rank 0 listens, unless `MASTER_PORT` says so: that of torchrun.
const PORT: u16 = 29500;

/// The most processes.
const MOST: usize = 65_535;
/// Bytes of what a process says about itself: its address, its host.
const CARD: usize = 128;
/// How long processes wait for each other by default.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The names of one variable under the launchers that set it: ours and torchrun, SLURM, Open MPI.
type Names = [&'static str; 3];
const RANK: Names = ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"];
const SIZE: Names = ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"];
const LOCAL_RANK: Names = ["LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"];
const LOCAL_SIZE: Names = [
    "LOCAL_WORLD_SIZE",
    "SLURM_NTASKS_PER_NODE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
];

/// This process among those that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number among those of its host,
    pub local_rank: usize,
    /// and how many these are, if the launcher says.
    pub local_size: Option<usize>,
    place: Place,
}

/// Where the processes meet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In this folder, on one host.
    Folder(PathBuf),
    /// At this host and port of rank 0.
    Host(String, u16),
}

impl Member {
    /// What `variable` says of the environment; none if this process trains alone.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        // All of one launcher: a shell inside SLURM has that one's as well.
        let Some(launcher) = (0..RANK.len()).find(|&launcher| variable(RANK[launcher]).is_some())
        else {
            return Ok(None);
        };
        let number = |names: Names| -> Result<Option<usize>> {
            let name = names[launcher];
            let Some(text) = variable(name) else {
                return Ok(None);
            };
            let number = text.trim().parse();
            number
                .map(Some)
                .map_err(|_| misuse(format!("{name} is {text}, which is no whole number")))
        };
        let needed = |names: Names| -> Result<usize> {
            let lacks = || {
                let [has, lacks] = [RANK, names].map(|names| names[launcher]);
                misuse(format!("{has} is set, and {lacks} is not"))
            };
            number(names)?.ok_or_else(lacks)
        };
        let (rank, size) = (needed(RANK)?, needed(SIZE)?);
        if size == 1 && rank == 0 {
            return Ok(None);
        }
        if size > MOST {
            let why = format!("{} is {size}, more than {MOST}", SIZE[launcher]);
            return Err(misuse(why));
        }
        if rank >= size {
            let [rank_is, size_is] = [RANK, SIZE].map(|names| names[launcher]);
            let why = format!("{rank_is} is {rank}, not below {size_is}, which is {size}");
            return Err(misuse(why));
        }
        let local_rank = number(LOCAL_RANK)?.unwrap_or(0);
        let place = if let Some(folder) = variable(FOLDER) {
            Place::Folder(folder.into())
        } else {
            let host = variable("MASTER_ADDR").ok_or_else(|| {
                misuse(format!(
                    "{} is set, and MASTER_ADDR, the host of rank 0, is not",
                    RANK[launcher]
                ))
            })?;
            let port = variable("MASTER_PORT").map_or(Ok(PORT), |text| {
                let port = text.trim().parse();
                port.map_err(|_| misuse(format!("MASTER_PORT is {text}, which is no port")))
            })?;
            Place::Host(host, port)
        };
        Ok(Some(Self {
            rank,
            size,
            local_rank,
            local_size: number(LOCAL_SIZE)?,
            place,
        }))
    }

    /// Joins the other processes; what takes longer than `timeout` from now on fails.
    pub fn join(&self, timeout: Duration) -> Result<Processes> {
        let text = |text: &str| CString::new(text).context("a name holds a zero byte");
        let (meeting, own) = match &self.place {
            Place::Folder(folder) => {
                let file = folder.join(MEET);
                let own = Ipv4Addr::LOCALHOST.to_string();
                (Meeting::File(text(&file.to_string_lossy())?), own)
            }
            Place::Host(host, port) => {
                let own = own_address(host, *port)?;
                (Meeting::Tcp(text(host)?, *port), own)
            }
        };
        let joined = Gloo::join(&meeting, &text(&own)?, self.rank, self.size, timeout);
        let gloo = joined.map_err(|why| self.absent(&why, timeout))?;
        let mut processes = Processes {
            gloo,
            rank: self.rank,
            size: self.size,
            timeout,
            cards: Vec::new(),
        };
        processes.introduce(&own)?;
        Ok(processes)
    }

    /// Why the processes did not meet.
    fn absent(&self, why: &str, timeout: Duration) -> anyhow::Error {
        let seconds = timeout.as_secs_f64();
        let message = match &self.place {
            Place::Host(_, port) if why.contains("EADDRINUSE") || why.contains("in use") => {
                let hint = "set MASTER_PORT to another one for all processes";
                let message = format!("port {port} of this host is in use");
                return CliError::failed(message, hint).into();
            }
            _ if why.starts_with("process") => format!("{why} within {seconds} s"),
            Place::Host(host, port) => {
                format!("rank 0 was not reached at {host}:{port} within {seconds} s")
            }
            Place::Folder(folder) => {
                let why = why.lines().next().unwrap_or_default();
                format!("{}: {why}", folder.display())
            }
        };
        let hint = "start all processes; --timeout says how long they wait for each other";
        CliError::failed(message, hint).into()
    }

    /// Where the reason is written if this process fails, for the one that started it.
    pub fn failure(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(failure(folder, self.rank)),
            Place::Host(..) => None,
        }
    }
}

/// The file in which process `rank` says why it failed.
pub fn failure(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("failed.{rank}"))
}

fn misuse(message: String) -> anyhow::Error {
    let hint = "torchrun, SLURM and Open MPI set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or their like; \
        --processes 1 trains without other processes";
    CliError::misuse(message, hint).into()
}

/// The address at which the others reach this host: the one from which it reaches rank 0. That of the host's name would
/// be 127.0.0.1 on many machines.
fn own_address(host: &str, port: u16) -> Result<String> {
    let find = || -> std::io::Result<String> {
        let mut last = std::io::Error::other("it has no address");
        for address in (host, port).to_socket_addrs()? {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            // Sends nothing: the system only chooses the way.
            let socket = UdpSocket::bind(any)?;
            match socket.connect(address).and_then(|()| socket.local_addr()) {
                Ok(own) => return Ok(own.ip().to_string()),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    find().map_err(|error| {
        let hint = "MASTER_ADDR names the host of rank 0, which all hosts must reach";
        CliError::failed(format!("MASTER_ADDR {host}: {error}"), hint).into()
    })
}

/// The time that processes wait for each other, by its flag.
pub fn timeout(seconds: Option<&str>) -> Result<Duration> {
    let Some(text) = seconds else {
        return Ok(TIMEOUT);
    };
    // libtorch counts nanoseconds.
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..=1e9).contains(seconds));
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| {
        let message = format!("--timeout {text}: it takes a time in seconds, above 0");
        CliError::misuse(message, "textgen-torch --help").into()
    })
}

/// The processes that train together, as one of them sees them.
pub struct Processes {
    gloo: Gloo,
    rank: usize,
    size: usize,
    timeout: Duration,
    /// Address and host of every process, by rank.
    cards: Vec<(String, String)>,
}

impl Processes {
    /// Learns where the others are.
    fn introduce(&mut self, own: &str) -> Result<()> {
        let mut card = format!("{own}\n{}", host()).into_bytes();
        card.resize(CARD, 0);
        let mut all = vec![0; CARD * self.size];
        self.all_gather(&card, &mut all)?;
        let cards = all.chunks_exact(CARD).map(|card| {
            let card = String::from_utf8_lossy(card);
            let (address, host) = card
                .trim_end_matches('\0')
                .split_once('\n')
                .unwrap_or_default();
            (address.to_owned(), host.to_owned())
        });
        self.cards = cards.collect();
        Ok(())
    }

    /// The number of processes on this host.
    pub fn local_size(&self) -> usize {
        let own = self.cards.get(self.rank).map(|(_, host)| host);
        let local = self.cards.iter().filter(|(_, host)| Some(host) == own);
        local.count().max(1)
    }

    /// Which process a message of Gloo is about, as far as its address tells.
    fn peer(&self, why: &str) -> String {
        // As in `Connection closed by peer [10.0.0.2]:1234`; the mapped form of IPv6 ends alike.
        let is_named = |rank: &usize| why.contains(&format!("{}]:", self.cards[*rank].0));
        let ranks = (0..self.cards.len()).filter(|&rank| rank != self.rank);
        let ranks: Vec<usize> = ranks.filter(is_named).collect();
        match ranks[..] {
            [] => "another process".to_owned(),
            [rank] => format!("process {rank} ({})", self.cards[rank].1),
            [first, ..] => format!("a process of {}", self.cards[first].1),
        }
    }

    fn lost(&self, why: &str) -> GroupError {
        if why.contains("Timed out") || why.contains("timeout") {
            return GroupError::silent(self.timeout);
        }
        GroupError::Lost(format!("{} has ended", self.peer(why)))
    }
}

/// The name of this host.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().chars().take(64).filter(char::is_ascii);
    name.collect()
}

impl ProcessGroup for Processes {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) -> Result<(), GroupError> {
        let sent = self.gloo.all_to_all(send, receive);
        sent.map_err(|why| self.lost(&why))
    }

    fn all_gather(&self, own: &[u8], receive: &mut [u8]) -> Result<(), GroupError> {
        let gathered = self.gloo.all_gather(self.size, own, receive);
        gathered.map_err(|why| self.lost(&why))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), GroupError> {
        let sent = self.gloo.broadcast(bytes);
        sent.map_err(|why| self.lost(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(variables: &[(&str, &str)]) -> Result<Option<Member>> {
        Member::of(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_wheel_s_class_is_as_large_as_the_headers_say() {
        // What libtorch 2.11.0 was checked with. After a change, compare ProcessGroupGloo.hpp with src/gloo first.
        assert_eq!(Gloo::size(), 488);
    }

    #[test]
    fn launchers_say_who_a_process_is() {
        let at = |host: &str, port| Place::Host(host.to_owned(), port);
        let torchrun = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "1234"),
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "2"),
        ];
        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_NTASKS_PER_NODE", "4"),
            ("MASTER_ADDR", "node0"),
        ];
        let mpi = [
            ("OMPI_COMM_WORLD_RANK", "5"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ("MASTER_ADDR", "node0"),
        ];
        for (variables, place) in [
            (&torchrun[..], at("node0", 1234)),
            (&slurm, at("node0", PORT)),
            (&mpi, at("node0", PORT)),
        ] {
            let want = Member {
                rank: 5,
                size: 8,
                local_rank: 1,
                local_size: Some(4),
                place,
            };
            assert_eq!(member(variables).expect("right"), Some(want));
        }
        assert_eq!(member(&[]).expect("right"), None);
        let one = [("RANK", "0"), ("WORLD_SIZE", "1")];
        assert_eq!(member(&one).expect("right"), None);
    }

    #[test]
    fn what_a_launcher_left_out_is_named() {
        for (variables, named) in [
            (&[("RANK", "1")][..], "RANK is set, and WORLD_SIZE is not"),
            (
                &[("SLURM_PROCID", "x"), ("SLURM_NTASKS", "2")],
                "SLURM_PROCID is x, which is no whole number",
            ),
            (
                &[("RANK", "2"), ("WORLD_SIZE", "2")],
                "RANK is 2, not below WORLD_SIZE, which is 2",
            ),
            (
                &[("RANK", "1"), ("WORLD_SIZE", "2")],
                "RANK is set, and MASTER_ADDR, the host of rank 0, is not",
            ),
            (
                &[
                    ("RANK", "1"),
                    ("WORLD_SIZE", "2"),
                    ("MASTER_ADDR", "a"),
                    ("MASTER_PORT", "70000"),
                ],
                "MASTER_PORT is 70000, which is no port",
            ),
        ] {
            let error = member(variables).expect_err(named);
            assert_eq!(error.to_string(), named);
        }
    }
}
