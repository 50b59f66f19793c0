//! A process that does not outlive the test: a small shell waits on a pipe to us and ends it when
//! the pipe closes, also when the test itself is killed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{PATIENCE, eventually, within};

/// `$0`: where the process's id is written; `$@`: what to run.
const GUARD: &str = r#"
exec 3>"$0"; exec 4<&0
"$@" </dev/null 3>&- 4<&- & p=$!
echo $p >&3
{ read _ <&4; kill -9 $p; } 2>/dev/null & w=$!
wait $p; s=$?
kill $w 2>/dev/null
exit $s"#;

/// A running process.
pub struct Process {
    guard: Child,
    pid: u32,
}

impl Process {
    /// Starts it. Its id goes into `pid_file`, what it says into these files.
    #[must_use]
    pub fn start(command: &Command, pid_file: &Path, (stdout, stderr): (File, File)) -> Self {
        let _ = std::fs::remove_file(pid_file);
        let mut guard = Command::new("sh");
        guard.arg("-c").arg(GUARD).arg(pid_file);
        guard.arg(command.get_program()).args(command.get_args());
        let guard = guard.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let guard = guard.spawn().expect("a shell");
        let mut pid = 0;
        eventually("the process has begun", || {
            let text = std::fs::read_to_string(pid_file).unwrap_or_default();
            pid = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).unwrap_or(0);
            pid != 0
        });
        Self { guard, pid }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.try_wait().expect("it is our child")
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(PATIENCE)
    }

    /// The same for one that has much to do.
    pub fn wait_within(&mut self, patience: Duration) -> ExitStatus {
        within(patience, "the process has ended", || self.ended().is_some());
        self.ended().expect("just seen")
    }
}

impl Drop for Process {
    /// Ends it at once (SIGKILL), also one that is stopped.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
