//! The command line.

use clap::Parser;

use crate::rate::Rate;
use crate::site::Site;

/// A site and its job. Rates are in bits a second, with K, M or G.
#[derive(Debug, Parser)]
#[command(name = "scale")]
pub(crate) struct Arguments {
    /// Nodes that start the job.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: u32,
    /// Seconds in which all of them have started.
    #[arg(long, default_value_t = 30.0)]
    spread: f64,
    /// The site's connection to the outside.
    #[arg(long, default_value = "10G")]
    uplink: Rate,
    /// The rate at which the institute sends to one site.
    #[arg(long, default_value = "10G")]
    institute: Rate,
    /// One connection to the institute.
    #[arg(long, default_value = "160M")]
    connection: Rate,
    /// A round trip to the institute, in milliseconds.
    #[arg(long, default_value_t = 30.0)]
    rtt: f64,
    /// The network of the cache, the site server or the file server.
    #[arg(long, default_value = "10G")]
    server: Rate,
    /// The rate at which the disks of the server write.
    #[arg(long, default_value = "8G")]
    writing: Rate,
    /// The rate at which one squid process sends.
    #[arg(long, default_value = "1.6G")]
    squid: Rate,
    /// The rate at which a bucket sends to all nodes together.
    #[arg(long, default_value = "200G")]
    bucket: Rate,
    /// The network of a node.
    #[arg(long, default_value = "10G")]
    node: Rate,
    /// Files of so many times their size.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) sizes: f64,
    /// Print the tables of docs/scale.md.
    #[arg(long)]
    pub(crate) tables: bool,
}

impl Arguments {
    /// The site that they describe.
    pub(crate) fn site(&self) -> Site {
        let nodes = f64::from(self.nodes);
        Site {
            nodes,
            groups: usize::try_from(self.nodes.min(10)).unwrap_or(10),
            spread: self.spread,
            institute: self.institute.bytes(),
            uplink: self.uplink.bytes(),
            connection: self.connection.bytes(),
            streams: 8.0,
            far: self.rtt / 1000.0,
            near: 0.0003,
            object: 0.015,
            server: self.server.bytes(),
            writing: self.writing.bytes(),
            squid: self.squid.bytes(),
            files: [20_000.0, 10_000.0, 6_000.0, 10_000.0],
            bucket: self.bucket.bytes(),
            bucket_connection: 80e6,
            node: self.node.bytes(),
            // 1 GiB in 1.0 s (docs/speed.md).
            storing: 1.07e9,
            description: 404e3,
            jobs: 8,
        }
    }
}
