//! The `pannier` program: arguments in, exit code out.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pannier::app::{self, Addresses, StartError};
use pannier::cli::purge::{self, PurgeArgs};
use pannier::cli::stats::{self, StatsArgs};
use pannier::cli::tail::{self, TailArgs};
use pannier::cli::top::{self, TopArgs};
use pannier::config::{self, Config, ListenAddress, Problems};
use pannier::demo;
use pannier::telemetry::logging::{self, LogFormat};

/// Chosen by measurement (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration is at fault (EX_CONFIG of sysexits).
const EXIT_CONFIG: u8 = 78;

/// A caching reverse proxy that rides beside an application.
#[derive(Parser)]
#[command(name = "pannier", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the proxy in the foreground
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
        config: PathBuf,
        /// How log lines are written to stderr: text or json
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: LogFormat,
    },
    /// Reads a configuration and says all that is wrong with it
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
        config: PathBuf,
    },
    /// Shows what it does, with a slow sample API and no configuration
    Demo,
    /// Makes stored responses invalid
    Purge(PurgeArgs),
    /// Prints the figures of a running proxy
    Stats(StatsArgs),
    /// Shows what is asked for, missed and slow, as it goes
    Top(TopArgs),
    /// Prints requests as they are answered
    Tail(TailArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, log_format } => run(&config, log_format),
        Command::Check { config } => check(&config),
        Command::Demo => show_demo(),
        Command::Purge(args) => ask(async |out| {
            let target = args.admin.target()?;
            purge::purge(&args, &target, out).await
        }),
        Command::Stats(args) => ask(async |out| {
            let target = args.admin.target()?;
            stats::stats(&args, &target, std::io::stdout().is_terminal(), out).await
        }),
        Command::Top(args) => ask(async |out| {
            let target = args.admin.target()?;
            top::top(&args, &target, std::io::stdout().is_terminal(), out).await
        }),
        Command::Tail(args) => ask(async |out| {
            let target = args.admin.target()?;
            tail::tail(&args, &target, out).await
        }),
    }
}

fn run(file: &Path, log_format: LogFormat) -> ExitCode {
    if let Err(error) = logging::start(log_format) {
        return failed(&error);
    }
    match config::load(file) {
        Ok(config) => serve(config, Some(file.to_owned()), |_| {}),
        Err(problems) => misconfigured(&problems),
    }
}

fn check(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(config) => {
            let found = app::check(&config);
            for warning in &found.warnings {
                eprintln!("{}: warning: {warning}", file.display());
            }
            for problem in &found.problems {
                failed(problem);
            }
            if !found.problems.is_empty() {
                return ExitCode::from(EXIT_CONFIG);
            }
            println!("{}: no problems", file.display());
            ExitCode::SUCCESS
        }
        Err(problems) => misconfigured(&problems),
    }
}

fn misconfigured(problems: &Problems) -> ExitCode {
    eprintln!("{}", problems.render(std::io::stderr().is_terminal()));
    ExitCode::from(EXIT_CONFIG)
}

fn serve(config: Config, file: Option<PathBuf>, ready: impl FnOnce(&Addresses)) -> ExitCode {
    match app::run(config, file, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_started(&error),
    }
}

fn not_started(error: &StartError) -> ExitCode {
    let code = failed(error);
    if error.is_of_the_configuration() {
        ExitCode::from(EXIT_CONFIG)
    } else {
        code
    }
}

/// Runs a command that asks a running proxy.
fn ask<E: std::error::Error>(
    command: impl AsyncFnOnce(&mut std::io::StdoutLock<'static>) -> Result<(), E>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(command(&mut std::io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("pannier: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors tell their cause themselves.
        let told = error.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

/// The sample API on a thread of its own, a proxy in front of it, and what to
/// try printed.
fn show_demo() -> ExitCode {
    if let Err(error) = logging::start(LogFormat::Text) {
        return failed(&error);
    }
    let api = match start_sample_api() {
        Ok(address) => address,
        Err(error) => return failed(&error),
    };
    let text = demo::sample_config(api, free_or(8080), free_or(9090));
    match config::parse("the demo", &text, |name| std::env::var(name).ok()) {
        Ok(config) => serve(config, None, |addresses| {
            let data = addresses.data.first().and_then(ListenAddress::tcp);
            if let (Some(data), Some(admin)) = (data, addresses.admin) {
                println!("{}", demo::introduction(data, admin));
            }
        }),
        Err(problems) => misconfigured(&problems),
    }
}

fn start_sample_api() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => demo::serve_sample_api(listener).await,
                Err(error) => eprintln!("pannier: the sample API: {error}"),
            }
        });
    });
    Ok(address)
}

/// The usual port where it is free, else any.
fn free_or(port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}
