//! One command of the program, run to its end.

use std::process::Stdio;

use super::within;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

/// Runs `pannier` with these arguments, and this environment on top.
pub(crate) async fn pannier(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pannier"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within(&format!("pannier {arguments:?} to end"), output)
        .await
        .expect("the program starts");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
