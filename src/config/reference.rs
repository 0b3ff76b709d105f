//! The reference of all options: `docs/configuration.md`.
//!
//! Made by reading an empty document and noting what is asked for, so that it
//! cannot tell of an option that is not read, nor leave one out.

use std::cell::RefCell;
use std::fmt::Write as _;

use http::uri::Authority;
use toml::de::DeTable;

use super::Upstream;
use super::options;
use super::reader::{Context, Table};

/// Every table and every option, in the order they are read.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) sections: Vec<SectionEntry>,
    pub(super) options: Vec<OptionEntry>,
}

/// One table.
pub(super) struct SectionEntry {
    pub(super) name: &'static str,
    pub(super) form: SectionForm,
    pub(super) docs: &'static str,
}

/// How a table is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum SectionForm {
    /// `[name]`; left out, all defaults.
    Table,
    /// `[name]`; left out, the feature is off.
    OptionalTable,
    /// `[[name]]`.
    List,
}

impl SectionEntry {
    pub(super) fn header(&self) -> String {
        match self.form {
            SectionForm::List => format!("[[{}]]", self.name),
            SectionForm::Table | SectionForm::OptionalTable => format!("[{}]", self.name),
        }
    }
}

/// One option.
pub(super) struct OptionEntry {
    /// `""` for the top of the file.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) default: DefaultValue,
    pub(super) expects: String,
    pub(super) docs: &'static str,
}

/// What an option is where it is left out, as TOML.
pub(super) enum DefaultValue {
    Written(String),
    Unset { example: &'static str },
    Required { example: &'static str },
}

impl Catalogue {
    /// The header of a table in which an option of this name exists.
    pub(super) fn table_with(&self, name: &str) -> Option<String> {
        let option = self.options.iter().find(|option| option.name == name)?;
        Some(match option.section {
            "" => "the top of the file, before the first table".to_owned(),
            section => self
                .sections
                .iter()
                .find(|entry| entry.name == section)
                .map(|entry| format!("`{}`", entry.header()))?,
        })
    }

    pub(super) fn options_of<'c>(
        &'c self,
        section: &'c str,
    ) -> impl Iterator<Item = &'c OptionEntry> {
        self.options
            .iter()
            .filter(move |option| option.section == section)
    }
}

/// Everything there is to configure.
pub(super) fn catalogue() -> Catalogue {
    let mut context = Context::new("", &|_| None);
    context.is_partial = true;
    context.catalogue = Some(RefCell::default());
    let unused = Upstream::Http {
        authority: Authority::from_static("127.0.0.1:80"),
    };
    options::config(Table::root(&context, &DeTable::new()), unused);
    context
        .catalogue
        .map(RefCell::into_inner)
        .unwrap_or_default()
}

/// `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let catalogue = catalogue();
    let mut page = String::from(PREFACE);
    page.push_str("\n## Top of the file\n\n");
    push_options(&mut page, catalogue.options_of(""));
    for section in &catalogue.sections {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n", section.header(), section.docs);
        push_options(&mut page, catalogue.options_of(section.name));
    }
    page.push_str(RELOAD);
    page
}

fn push_options<'c>(page: &mut String, options: impl Iterator<Item = &'c OptionEntry>) {
    page.push_str("| key | default | takes | meaning |\n|---|---|---|---|\n");
    for option in options {
        let default = match &option.default {
            DefaultValue::Written(value) => format!("`{value}`"),
            DefaultValue::Unset { example } => format!("none; for example `{example}`"),
            DefaultValue::Required { example } => format!("required; for example `{example}`"),
        };
        let _ = writeln!(
            page,
            "| `{}` | {default} | {} | {} |",
            option.name, option.expects, option.docs
        );
    }
}

const PREFACE: &str = "\
# Configuration

<!-- Written by a test from the options themselves. To renew it:
     PANNIER_WRITE_REFERENCE=1 cargo test --lib config:: -->

Pannier reads one TOML file, `proxy.toml` unless `--config` names another. `pannier check` prints
everything that is wrong with it at once, each problem with line, column and a hint. The file
[proxy.toml](../proxy.toml) shows every key.

- A duration is a string of a whole number and a unit: `\"250ms\"`, `\"30s\"`, `\"10m\"`, `\"1h\"`, `\"1d\"`.
- A size is a string of a whole number and a unit: `\"512B\"`, `\"64KiB\"`, `\"256MiB\"`, `\"1GiB\"`.
- `0` needs no unit.
- `${NAME}` in a string is replaced by the environment variable `NAME`; a missing variable is a
  problem like any other. `$${` stands for the characters `${`.
";

const RELOAD: &str = "
## Reload

SIGHUP reads the file again, and so does a change of the file itself. A file with problems changes
nothing, and the log says why. A change of `listen`, `tls.listen`, a `proxy_protocol`, `threads`, `[admin]`,
`[redis]` or `[coherence]`, or whether there is a `[tls]`, is reported and waits for the next start;
everything else is taken at once. So are the files that `[tls]` names: where one of them cannot be used, the
certificates that were read before stay in use. Requests under way end
under the old configuration; responses stored under a route that did not change stay.
";
