//! The steps of the demonstration: plain commands, with checks of their output and of the bytes that they download.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};
use tokio::process::Command;

use super::observatory::{CONTEXT, DATASETS_BY_KIND, OLD_CONTEXT};
use crate::cli::{Failure, output};
use crate::crds::{Observatory, Sha1Sum};
use crate::serve::Handle;

/// The mount point below the temporary directory.
pub(super) const MOUNT: &str = "crds_cache";

/// The largest reference, and its size in bytes.
const FLAT: &str = "roman_wfi_flat_0002.asdf";
const FLAT_SIZE: u64 = 64 << 20;

/// The time limit of one command.
const DEADLINE: Duration = Duration::from_secs(120);

/// The claims that are checked of one command.
#[derive(Default)]
struct Claim {
    /// Its output contains these texts.
    prints: Vec<String>,
    /// It fails, and says this.
    fails: Option<&'static str>,
    /// The bytes that come from the server.
    bytes: Bytes,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    #[default]
    None,
    Some,
    /// A large file of this size, once: of a request whose rest another connection takes over, bytes are on the way already.
    Once(u64),
}

/// The mount that the commands run on, and the server whose downloads are counted.
struct Stage {
    root: PathBuf,
    server: Option<Handle>,
    step: u32,
}

/// Runs the steps of the first mount and returns their number; ends at the first claim that does not hold.
pub(super) async fn first(root: &Path, server: Handle, private: bool) -> Result<u32, Failure> {
    let mut stage = Stage {
        root: root.to_owned(),
        server: Some(server),
        step: 0,
    };
    stage.open(private)?;
    stage.look().await?;
    stage.read().await?;
    stage.best_references().await?;
    Ok(stage.step)
}

/// Runs the steps after the first `step`, on another mount of the same store.
pub(super) async fn second(root: &Path, server: Handle, step: u32) -> Result<u32, Failure> {
    let mut stage = Stage {
        root: root.to_owned(),
        server: Some(server),
        step,
    };
    stage.again().await?;
    stage.without_server().await?;
    output::line("")?;
    output::line(
        "All of it held. On your data: crds-fs mount ~/crds_cache; eval \"$(crds-fs env ~/crds_cache)\"",
    )?;
    Ok(stage.step)
}

fn prints(texts: &[&str]) -> Claim {
    Claim {
        prints: texts.iter().map(|&text| text.to_owned()).collect(),
        ..Claim::default()
    }
}

impl Stage {
    fn open(&self, private: bool) -> Result<(), Failure> {
        let url = self
            .server
            .as_ref()
            .map(|server| server.url(Observatory::Roman))
            .unwrap_or_default();
        let files = self
            .server
            .as_ref()
            .map_or(0, |server| server.files(Observatory::Roman));
        output::line(format!(
            "A small observatory ({files} files, 3 datasets) is served at {url} and mounted at {}.",
            self.root.join(MOUNT).display()
        ))?;
        output::line(if private {
            "The commands below run there; nobody else on this machine sees the mount."
        } else {
            "The commands below run there."
        })?;
        Ok(())
    }

    /// Metadata costs no download.
    async fn look(&mut self) -> Result<(), Failure> {
        self.step(
            "Every file is there at once, with its true size",
            "ls -l references/roman",
            prints(&[FLAT, "67108864"]),
        )
        .await?;
        self.step(
            "64 MiB long, and not a block of it on this disk",
            &format!("stat -c '%s bytes, %b blocks here' references/roman/{FLAT}"),
            prints(&["67108864 bytes, 0 blocks here"]),
        )
        .await
    }

    /// Opening downloads, once.
    async fn read(&mut self) -> Result<(), Failure> {
        self.step(
            "Opening a file downloads and verifies it: first a rule",
            &format!("tail -n 4 mappings/roman/{CONTEXT}"),
            Claim {
                bytes: Bytes::Some,
                ..prints(&["roman_wfi_0002.imap"])
            },
        )
        .await?;
        let sum = self.sum_of_original()?;
        self.step(
            "... then 64 MiB: when cp may read, the SHA-1 of all of it has been checked",
            &format!("cp references/roman/{FLAT} ../copy && sha1sum ../copy"),
            Claim {
                bytes: Bytes::Once(FLAT_SIZE),
                ..prints(&[&sum])
            },
        )
        .await?;
        self.step(
            "The second time it is here",
            &format!("sha1sum references/roman/{FLAT}"),
            prints(&[&sum]),
        )
        .await?;
        self.step(
            "... and takes room on this disk",
            "du -h --apparent-size --max-depth=0 references/roman; du -h --max-depth=0 references/roman",
            Claim::default(),
        )
        .await
    }

    /// The table of best references is a directory.
    async fn best_references(&mut self) -> Result<(), Failure> {
        let [(image, _, _), (other, _, _), (spectrum, _, _)] = DATASETS_BY_KIND;
        self.step(
            "The best references of a dataset are a directory of links",
            &format!("ls -l bestrefs/roman-latest/{image}/"),
            Claim {
                // The server names bad rules, so the rules behind the links are looked at.
                bytes: Bytes::Some,
                ..prints(&["dark -> ", "roman_wfi_dark_0001.asdf", "roman_wfi_gain_0001.json"])
            },
        )
        .await?;
        self.step(
            "Opening one is opening the reference",
            &format!("cat bestrefs/roman-latest/{image}/gain"),
            Claim {
                bytes: Bytes::Some,
                ..prints(&["\"gain\": 1.8"])
            },
        )
        .await?;
        self.step(
            "Another detector has another dark, and an older context another flat",
            &format!(
                "readlink bestrefs/roman-latest bestrefs/roman-latest/{other}/dark bestrefs/{OLD_CONTEXT}/{other}/flat"
            ),
            Claim {
                bytes: Bytes::Some,
                ..prints(&[CONTEXT, "roman_wfi_dark_0002.asdf", "roman_wfi_flat_0001.asdf"])
            },
        )
        .await?;
        self.step(
            "A spectrum needs no flat: no such file",
            &format!("cat bestrefs/roman-latest/{spectrum}/flat"),
            Claim {
                fails: Some("No such file or directory"),
                ..Claim::default()
            },
        )
        .await
    }

    /// Another mount answers as the first one did.
    async fn again(&mut self) -> Result<(), Failure> {
        let [(image, _, _), ..] = DATASETS_BY_KIND;
        output::line("")?;
        output::line("   It is unmounted and mounted again now.")?;
        self.step(
            "Another mount of the same cache reads the same, and fetches nothing",
            &format!("cat bestrefs/roman-latest/{image}/gain"),
            prints(&["\"gain\": 1.8"]),
        )
        .await
    }

    /// The files that were fetched stay.
    async fn without_server(&mut self) -> Result<(), Failure> {
        let sum = self.sum_of_original()?;
        let [(image, _, _), ..] = DATASETS_BY_KIND;
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        output::line("")?;
        output::line("   The server is stopped now.")?;
        self.step(
            "What was read before still reads, through the best references too",
            &format!("sha1sum bestrefs/roman-latest/{image}/flat"),
            prints(&[&sum]),
        )
        .await?;
        self.step(
            "What was not says why it cannot",
            "cat references/roman/roman_wfi_area_0001.fits",
            Claim {
                fails: Some("No route to host"),
                ..Claim::default()
            },
        )
        .await
    }

    fn sum_of_original(&self) -> Result<String, Failure> {
        let original = std::fs::read(self.root.join("observatory/references/roman").join(FLAT))?;
        Ok(Sha1Sum::from_bytes(Sha1::digest(original).into()).to_string())
    }

    /// Bytes that the server has sent so far.
    fn sent(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| {
            server.counters().files().values().map(|count| count.bytes).sum()
        })
    }

    /// Runs a command, shows it with what it prints and costs, and checks the claim.
    async fn step(&mut self, title: &str, command: &str, claim: Claim) -> Result<(), Failure> {
        self.step += 1;
        output::line(format!("\n{:2} {title}", self.step))?;
        output::line(format!("   $ {command}"))?;
        let before = self.sent();
        let started = Instant::now();
        let ran = self.run(command).await?;
        let took = started.elapsed();
        let sent = self.sent() - before;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        for line in said.lines() {
            output::line(format!(
                "     {}",
                line.trim_end().chars().take(150).collect::<String>()
            ))?;
        }
        let downloaded = match (&self.server, sent) {
            (None, _) => "no server".to_owned(),
            (Some(_), 0) => "nothing downloaded".to_owned(),
            (Some(_), sent) => format!("{} downloaded", output::size(sent)),
        };
        output::line(format!("   ({downloaded}, {:.1} ms)", took.as_secs_f64() * 1e3))?;
        claim
            .check(&ran, &said, sent)
            .map_err(|why| Failure::new(format!("'{command}' {why}")))
    }

    async fn run(&self, command: &str) -> Result<Output, Failure> {
        let running = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.root.join(MOUNT))
            .env("LC_ALL", "C")
            .kill_on_drop(true)
            .output();
        tokio::time::timeout(DEADLINE, running)
            .await
            .map_err(|_| Failure::new(format!("'{command}' did not end within {DEADLINE:?}")))?
            .map_err(|source| Failure::because(format!("running '{command}'"), source))
    }
}

impl Claim {
    fn check(&self, ran: &Output, said: &str, sent: u64) -> Result<(), String> {
        if let Some(missing) = self
            .prints
            .iter()
            .map(String::as_str)
            .chain(self.fails)
            .find(|text| !said.contains(text))
        {
            return Err(format!("should have said '{missing}'"));
        }
        if ran.status.success() == self.fails.is_some() {
            return Err(format!("ended with {}", ran.status));
        }
        let right = match self.bytes {
            Bytes::None => sent == 0,
            Bytes::Some => sent > 0,
            Bytes::Once(size) => (size..size * 2).contains(&sent),
        };
        if right {
            Ok(())
        } else {
            Err(format!("made the server send {sent} bytes"))
        }
    }
}
