//! Log lines, on standard error: text for people or JSON for collectors.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, TelemetryConfig};

/// Starts logging for the whole process. `label` tells this process apart where several share one terminal.
pub fn start(config: &TelemetryConfig, label: Option<String>) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = Labelled {
        prefix: label.map(|label| prefix(config.log_format, &label)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    // A second start (two servers in one test process) keeps the first subscriber.
    let _ = match config.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// What stands before a line, and what of the line it replaces.
fn prefix(format: LogFormat, label: &str) -> Prefix {
    match format {
        LogFormat::Text => Prefix {
            text: format!("[{label}] "),
            replaces: "",
        },
        LogFormat::Json => Prefix {
            text: format!(r#"{{"process":"{label}","#),
            replaces: "{",
        },
    }
}

#[derive(Clone, Debug)]
struct Prefix {
    text: String,
    replaces: &'static str,
}

/// Writes whole lines to standard error, each in one call, so that lines of several processes never mix.
#[derive(Clone, Debug)]
struct Labelled {
    prefix: Option<Prefix>,
}

impl<'a> MakeWriter<'a> for Labelled {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            prefix: self.prefix.as_ref(),
        }
    }
}

struct LineWriter<'a> {
    prefix: Option<&'a Prefix>,
}

impl LineWriter<'_> {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let Some(prefix) = self.prefix else {
            return io::stderr().write_all(line);
        };
        let rest = line.strip_prefix(prefix.replaces.as_bytes()).unwrap_or(line);
        io::stderr().write_all(&[prefix.text.as_bytes(), rest].concat())
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Where nobody reads the log any more, there is nobody to tell so: the subscriber would try, on standard error,
        // and panic in whatever was being logged.
        let _ = self.write_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
