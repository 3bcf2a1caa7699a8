//! How a gateway is told to read its configuration again, each as its manual says.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use monoio::time;
use rustix::process::Signal;

use super::process::{Process, on_cores};

/// What has a gateway read its configuration again.
#[derive(Debug, Clone)]
pub(super) enum Reload {
    /// A signal to its first process.
    Signal(Signal),
    /// A program with these arguments. [`NUMBER`] in one becomes a number, another each time.
    Command(Vec<String>),
    /// This text moved over the file at this path, which it watches: with a number likewise, since
    /// it does nothing about a file that is the same.
    File(PathBuf, String),
}

/// What becomes the number of the reload.
pub(super) const NUMBER: &str = "{number}";

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The reloads of one gateway.
pub(super) struct Reloads {
    pub(super) by: Reload,
    /// Where commands run: they are work of the gateway's side.
    pub(super) cores: Vec<usize>,
    /// What the commands say.
    pub(super) log: PathBuf,
    /// How many there were, in all rounds.
    pub(super) done: Cell<u64>,
}

impl Reloads {
    /// One each second until it is over.
    ///
    /// # Errors
    /// When one fails, with what was said.
    pub(super) async fn every_second(
        &self,
        process: &Process,
        over: &Cell<bool>,
    ) -> io::Result<()> {
        const HALF: Duration = Duration::from_millis(500);
        while !over.get() {
            time::sleep(HALF).await;
            self.once(process).await?;
            time::sleep(HALF).await;
        }
        Ok(())
    }

    async fn once(&self, process: &Process) -> io::Result<()> {
        let number = self.done.replace(self.done.get() + 1).to_string();
        match &self.by {
            Reload::Signal(signal) => process.signal(*signal),
            Reload::File(path, text) => {
                let new = path.with_extension("new");
                fs::write(&new, text.replace(NUMBER, &number))?;
                fs::rename(&new, path)?;
            }
            Reload::Command(words) => {
                let words = words.iter().map(|word| word.replace(NUMBER, &number));
                self.run(words.collect()).await?;
            }
        }
        Ok(())
    }

    async fn run(&self, words: Vec<String>) -> io::Result<()> {
        let log = fs::File::create(&self.log)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let mut child = on_cores(&self.cores, || command.spawn())?;
        let end = Instant::now() + PATIENCE;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => break,
                None if Instant::now() > end => {
                    let _ = child.kill();
                    child.wait()?;
                    break;
                }
                None => time::sleep(Duration::from_millis(5)).await,
            }
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let said: Vec<_> = said.lines().collect();
        Err(io::Error::other(format!("`{}` failed: {}", words[0], said.join(" / "))))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::stop::Stop;
    use super::*;

    /// Does one reload after the other; what came of the last.
    fn reload(by: Reload, folder: &std::path::Path, times: usize) -> io::Result<()> {
        // It stands for the gateway's, which is waited for.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let cores = ringway_engine::cores::allowed();
        let log = folder.join("output.log");
        let address = listener.local_addr().unwrap();
        let process = Process::start(command, &cores, address, &log, &Stop::default()).unwrap();
        let reloads = Reloads { by, cores, log: folder.join("reload.log"), done: Cell::new(0) };
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap();
        runtime.block_on(async {
            for _ in 1..times {
                reloads.once(&process).await?;
            }
            reloads.once(&process).await
        })
    }

    #[test]
    fn a_file_is_another_one_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("watched.yaml");
        let by = Reload::File(file.clone(), format!("priority: {NUMBER}"));
        reload(by, folder.path(), 3).unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "priority: 2");
    }

    #[test]
    fn a_command_is_waited_for_and_its_failure_told() {
        let folder = tempfile::tempdir().unwrap();
        let command = |script: &str| {
            let words = ["sh", "-c", script, "sh", NUMBER, folder.path().to_str().unwrap()];
            Reload::Command(words.map(str::to_owned).to_vec())
        };
        reload(command("echo $1 >> $2/numbers"), folder.path(), 2).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("numbers")).unwrap(), "0\n1\n");
        let failed = reload(command("echo no such file >&2; exit 1"), folder.path(), 1);
        assert_eq!(failed.unwrap_err().to_string(), "`sh` failed: no such file");
    }
}
