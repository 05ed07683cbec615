//! Ways to the bytes without a mount: curl, the Python client, and one thread that does what must be done.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::data::{Entry, hexadecimal};
use crate::rig::Rig;
use crate::work::timed;
use crate::{Fallible, program};

/// Seconds that one curl, with one kept connection, takes to write the files.
pub(crate) fn curl(rig: &Rig, files: &[&Entry], target: &Path) -> Fallible<f64> {
    let line = |file: &&Entry| {
        let output = target.join(&file.name);
        format!(
            "url = \"{}\"\noutput = \"{}\"",
            rig.url(&file.name),
            output.display()
        )
    };
    let list = files.iter().map(line).collect::<Vec<_>>().join("\n");
    timed(|| {
        let mut process = program::command("curl")
            .args(["-sS", "--fail", "-K", "-"])
            .stdin(Stdio::piped())
            .spawn()?;
        let mut input = process.stdin.take().ok_or("no input")?;
        input.write_all(list.as_bytes())?;
        drop(input);
        let status = process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("curl ended with {status}").into())
        }
    })
}

/// Seconds that the Python client's downloader takes, without the time to import it.
pub(crate) fn python(rig: &Rig, files: &[&Entry], target: &Path) -> Fallible<f64> {
    let entry = |file: &&Entry| json!({"name": file.name, "size": file.size, "sha1": file.sha1});
    let task = json!({
        "base": rig.url(""), "out": target, "files": files.iter().map(entry).collect::<Vec<_>>(),
    });
    let mut process = program::command(rig.python()?)
        .args(["-c", include_str!("client.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = process.stdin.take().ok_or("no input")?;
    input.write_all(task.to_string().as_bytes())?;
    drop(input);
    let output = process.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| "the Python client failed")?)
}

/// Seconds that one thread takes to fetch, hash and write the files, so many at a time: what a cold file costs at least.
pub(crate) fn one_thread(rig: &Rig, files: &[&Entry], at_once: usize, target: &Path) -> Fallible<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The first one decides; there is no encryption here anyway.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let begin = Instant::now();
    runtime.block_on(
        futures_util::stream::iter(files.iter().map(|file| fetch(&client, rig, file, target)))
            .buffer_unordered(at_once)
            .try_collect::<()>(),
    )?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn fetch(client: &reqwest::Client, rig: &Rig, entry: &Entry, target: &Path) -> Fallible<()> {
    let request = client.get(rig.url(&entry.name));
    let mut answer = request.send().await?.error_for_status()?;
    let path: PathBuf = target.join(&entry.name);
    let partial = path.with_extension("partial");
    let (mut file, mut sha1) = (File::create(&partial)?, Sha1::new());
    while let Some(piece) = answer.chunk().await? {
        sha1.update(&piece);
        file.write_all(&piece)?;
    }
    if hexadecimal(&sha1.finalize()) != entry.sha1 {
        return Err(format!("{}: another SHA-1", entry.name).into());
    }
    fs::rename(partial, path)?;
    Ok(())
}
