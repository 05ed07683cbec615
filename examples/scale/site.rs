//! A site: its links and machines, and the ways on which files come to its nodes. Pure.

use crate::fluid::{Flow, Use};

/// The time in seconds of one small file on a node, whatever the network: 2,000 files of 16 KiB, 16 at a time, take 0.49 s
/// (docs/speed.md).
const SMALL_FILE: f64 = 0.000_25;
/// Files from this size on, in bytes, come over several connections.
const SEVERAL: f64 = 16.0 * 1024.0 * 1024.0;
/// Small files that a node asks for at a time.
const SMALL_AT_A_TIME: f64 = 32.0;

/// The source of the nodes' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Each node asks the institute.
    Crds,
    /// nginx passes on what it receives while it comes, over as many connections as are asked for.
    Nginx,
    /// squid as well, over one connection for each file.
    Squid,
    /// A bucket near the nodes, which has everything, or nothing and is given what nodes have.
    Tier {
        /// The bucket has all files at the start.
        filled: bool,
    },
    /// One directory on a file server; each file is fetched by the node that has its lease.
    Shared,
    /// `crds-fs serve --upstream`, which verifies a file before it hands it out.
    SiteServer,
}

impl Setup {
    pub(crate) const ALL: [Self; 7] = [
        Self::Crds,
        Self::Nginx,
        Self::Squid,
        Self::Tier { filled: false },
        Self::Tier { filled: true },
        Self::Shared,
        Self::SiteServer,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crds => "CRDS only",
            Self::Nginx => "nginx",
            Self::Squid => "squid",
            Self::Tier { filled: false } => "S3 tier, empty",
            Self::Tier { filled: true } => "S3 tier, filled before",
            Self::Shared => "shared store",
            Self::SiteServer => "site server",
        }
    }

    /// True if nodes receive a file while the cache between them and the institute still receives it.
    pub(crate) fn passes_on_at_once(self) -> bool {
        matches!(self, Self::Nginx | Self::Squid)
    }
}

/// Capacities in bytes a second, times in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Nodes, and the number of groups in which they start.
    pub(crate) nodes: f64,
    pub(crate) groups: usize,
    /// The time in which all nodes start.
    pub(crate) spread: f64,
    /// The rate at which the institute sends to this site, and the site's own connection.
    pub(crate) institute: f64,
    pub(crate) uplink: f64,
    /// One connection to the institute, and the connections for one file.
    pub(crate) connection: f64,
    pub(crate) streams: f64,
    /// The time of a round trip to the institute, within the site, and to the first byte of an object.
    pub(crate) far: f64,
    pub(crate) near: f64,
    pub(crate) object: f64,
    /// The network of the cache, the site server or the file server, and what its disks or its process take in or hand out.
    pub(crate) server: f64,
    pub(crate) writing: f64,
    pub(crate) squid: f64,
    /// Small files a second that nginx, squid, crds-fs and a file server give.
    pub(crate) files: [f64; 4],
    /// The bucket, and one connection to it.
    pub(crate) bucket: f64,
    pub(crate) bucket_connection: f64,
    /// The network of a node, and what it receives, verifies and stores.
    pub(crate) node: f64,
    pub(crate) storing: f64,
    /// The bytes of the description of an observatory, which each node gets from its server.
    pub(crate) description: f64,
    /// Large files at a time of one node.
    pub(crate) jobs: usize,
}

/// The links of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Institute,
    Uplink,
    ServerIn,
    ServerOut,
    /// Small files.
    ServerFiles,
    Bucket,
    /// The nodes of a group.
    Group(usize),
}

impl Link {
    const SHARED: usize = 6;

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Institute => 0,
            Self::Uplink => 1,
            Self::ServerIn => 2,
            Self::ServerOut => 3,
            Self::ServerFiles => 4,
            Self::Bucket => 5,
            Self::Group(group) => Self::SHARED + group,
        }
    }

    /// The name of the link in the column of the narrowest links.
    pub(crate) fn name(index: usize, setup: Setup) -> &'static str {
        match (index, setup) {
            (0, _) => "the institute",
            (1, _) => "uplink",
            (2, _) => "server's disk",
            (3, Setup::Squid) => "squid's process",
            (3, _) => "server's network",
            (4, _) => "small files at the server",
            (5, _) => "bucket",
            _ => "nodes",
        }
    }
}

impl Site {
    /// Capacities of all links, in the order of [`Link::index`].
    pub(crate) fn capacities(&self, setup: Setup) -> Vec<f64> {
        let [nginx, squid, serve, nfs] = self.files;
        let (out, files) = match setup {
            Setup::Squid => (self.server.min(self.squid), squid),
            Setup::Nginx => (self.server, nginx),
            Setup::Shared => (self.server, nfs),
            _ => (self.server, serve),
        };
        let node = self.node.min(self.storing);
        let mut capacities = vec![
            self.institute,
            self.uplink,
            self.server.min(self.writing),
            out,
            files,
            self.bucket,
        ];
        capacities.extend(std::iter::repeat_n(node * self.group_count(), self.groups));
        capacities
    }

    /// The number of nodes in a group.
    pub(crate) fn group_count(&self) -> f64 {
        self.nodes / as_f64(self.groups)
    }

    /// The time at which a group starts.
    pub(crate) fn start_of(&self, group: usize) -> f64 {
        self.spread * as_f64(group) / as_f64(self.groups)
    }

    /// A file, or all small ones, from the institute to the nodes of a group.
    pub(crate) fn direct(&self, file: File, group: usize) -> Flow {
        let links = [Link::Institute, Link::Uplink, Link::Group(group)];
        flow(
            file,
            &links,
            self.group_count(),
            self.far,
            self.connections(file) * self.connection,
        )
    }

    /// A file from the institute to what stands in the middle: once.
    pub(crate) fn fill(&self, setup: Setup, file: File) -> Flow {
        let connections = if setup == Setup::Squid {
            1.0
        } else {
            self.connections(file)
        };
        let links = [Link::Institute, Link::Uplink, Link::ServerIn];
        let most = match setup {
            // A node brings it.
            Setup::Shared => self.node.min(self.storing),
            _ => f64::INFINITY,
        };
        flow(
            file,
            &links,
            1.0,
            self.far,
            most.min(connections * self.connection),
        )
    }

    /// A file from what stands in the middle to the nodes of a group.
    pub(crate) fn near(&self, file: File, group: usize) -> Flow {
        let links = [Link::ServerOut, Link::ServerFiles, Link::Group(group)];
        flow(file, &links, self.group_count(), self.near, f64::INFINITY)
    }

    /// A file from the bucket to the nodes of a group.
    pub(crate) fn object(&self, file: File, group: usize) -> Flow {
        let links = [Link::Bucket, Link::Group(group)];
        let most = self.connections(file) * self.bucket_connection;
        flow(file, &links, self.group_count(), self.object, most)
    }

    /// The time until the first byte of a file comes, over a new connection.
    pub(crate) fn delay(&self, flow_from: Place) -> f64 {
        match flow_from {
            Place::Institute => 2.0 * self.far,
            Place::Server => 2.0 * self.near,
            Place::Bucket => self.object,
        }
    }

    fn connections(&self, file: File) -> f64 {
        if file.size >= SEVERAL { self.streams } else { 1.0 }
    }
}

/// The flow of a file over these links to `count` receivers, whose first byte takes `delay`; `most` is for a large one.
fn flow(file: File, links: &[Link], count: f64, delay: f64, most: f64) -> Flow {
    // Small files come one after the other on each of so many connections.
    let small = SMALL_AT_A_TIME * file.size / (file.files * delay.max(SMALL_FILE * SMALL_AT_A_TIME));
    let is_large = file.files <= 1.0;
    let wanted = |link: &&Link| !is_large || **link != Link::ServerFiles;
    let uses = links.iter().filter(wanted).map(|&link| Use {
        link: link.index(),
        units: if link == Link::ServerFiles {
            file.files / file.size
        } else {
            1.0
        },
    });
    Flow {
        uses: uses.collect(),
        count,
        most: if is_large { most } else { small },
    }
}

/// The sender of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Institute,
    Server,
    Bucket,
}

/// A large file, or all small ones together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) size: f64,
    /// The number of files.
    pub(crate) files: f64,
}

#[expect(clippy::cast_precision_loss, reason = "numbers of groups and files are small")]
pub(crate) fn as_f64(number: usize) -> f64 {
    number as f64
}
