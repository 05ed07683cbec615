//! The columns of the table.

/// One way to the bytes: a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Column {
    /// The native file system with the complete data.
    Native,
    /// `curl -o`: one process, one connection.
    Curl,
    /// The Python client's downloader.
    Python,
    /// `rclone mount` with a full VFS cache.
    Rclone,
    /// One thread that fetches, hashes and writes.
    Thread,
    /// A FUSE file system over the complete data that knows no network.
    Limit,
    /// The same by crds-fs once it is there.
    Again,
    /// crds-fs.
    CrdsFs,
}

impl Column {
    pub(crate) const ALL: [Self; 8] = [
        Self::Native,
        Self::Curl,
        Self::Python,
        Self::Rclone,
        Self::Thread,
        Self::Limit,
        Self::Again,
        Self::CrdsFs,
    ];

    /// Its heading.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Curl => "curl -o",
            Self::Python => "Python client",
            Self::Rclone => "rclone",
            Self::Thread => "one thread",
            Self::Limit => "limit",
            Self::Again => "crds-fs, warm",
            Self::CrdsFs => "crds-fs",
        }
    }
}
