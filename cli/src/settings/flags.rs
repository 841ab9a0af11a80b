//! The table as flags of the command line.
//!
//! `args` flattens [`Flags`] into the commands that go by settings. What is typed is kept as text: it is read
//! with everything else, so that all that is wrong is said at once. Only what clap must know to tell flags
//! from paths is decided here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use super::value::{Item, Kind};
use super::{Flag, Section, Setting, all, sections};

/// What stands between the flags' own texts and the end of help.
pub(crate) const FORMS: &str = "Durations are like 300ms, 5s, 2min, 1h; sizes like 512KiB, 16MiB.\n\
    Each flag may also be given as a variable, as in SWITCHBOARD_REQUEST_MAX=16MiB, with commas between \
    several values, or as a key in the file of --config. A flag goes before a variable, and a variable before \
    the file.";

/// The flags that were typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(super) typed: Vec<Typed>,
    /// The configuration file.
    pub(super) config: Option<PathBuf>,
}

/// A setting as it was typed. A switch has no values.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) setting: &'static Setting,
    pub(super) values: Vec<OsString>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let args = sections().iter().flat_map(|section| {
            let settings = section.settings.iter();
            settings.filter_map(|setting| arg(section, setting))
        });
        command.arg(config()).args(args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = all().filter_map(|setting| {
            let id = id(setting)?;
            let values = match setting.flag {
                Flag::On(_) | Flag::Off(..) => matches.get_flag(id).then(Vec::new)?,
                Flag::Value(_) | Flag::Place if has_choices(setting) => {
                    let names = matches.get_many::<String>(id)?;
                    names.map(OsString::from).collect()
                }
                Flag::Value(_) | Flag::Place => {
                    matches.get_many::<OsString>(id)?.cloned().collect()
                }
                Flag::None => return None,
            };
            Some(Typed { setting, values })
        });
        Ok(Self {
            typed: typed.collect(),
            config: matches.get_one::<PathBuf>(CONFIG).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Takes a flag out of help, where the help of `serve` has it; it is understood all the same.
pub(crate) fn hidden(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    let is_flag = all().any(|setting| setting.flag.name() == Some(id));
    arg.hide(is_flag)
}

/// The flag that names the configuration file.
const CONFIG: &str = "config";

fn config() -> Arg {
    Arg::new(CONFIG)
        .short('c')
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help("Configuration file, TOML; `switchboard config sample` prints one with every key")
}

fn id(setting: &'static Setting) -> Option<&'static str> {
    match setting.flag {
        Flag::Place => Some(setting.key),
        Flag::None | Flag::Value(_) | Flag::On(_) | Flag::Off(..) => setting.flag.name(),
    }
}

fn has_choices(setting: &Setting) -> bool {
    matches!(setting.kind, Kind::Choice(..))
}

fn arg(section: &Section, setting: &'static Setting) -> Option<Arg> {
    let mut arg = Arg::new(id(setting)?);
    if !section.title.is_empty() {
        arg = arg.help_heading(section.title);
    }
    if let Some(name) = setting.flag.name() {
        arg = arg.long(name);
    }
    Some(match setting.flag {
        Flag::On(_) => arg.action(ArgAction::SetTrue).help(setting.help),
        Flag::Off(_, help) => arg
            .action(ArgAction::SetTrue)
            .help(help)
            .conflicts_with_all(same_part(setting)),
        Flag::None | Flag::Value(_) | Flag::Place => valued(arg, setting),
    })
}

/// The flags that have nothing to do where this one switches their part off.
fn same_part(switch: &'static Setting) -> Vec<&'static str> {
    let Some(part) = switch.key.strip_suffix("enabled") else {
        return Vec::new();
    };
    let others = all().filter(|other| other.key != switch.key && other.key.starts_with(part));
    // What is to be seen of the end of serving belongs to the host, not to the service.
    let others = others.filter(|other| other.key != "health.drain_notice");
    others.filter_map(id).collect()
}

fn valued(arg: Arg, setting: &'static Setting) -> Arg {
    let default = setting.default_text();
    let mut help = setting.help.to_owned();
    if setting.kind.adds_up() && setting.flag != Flag::Place {
        help.push_str("; repeat for more");
    }
    if !default.is_empty() {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = arg
        .value_name(setting.kind.place())
        .help(help)
        .value_hint(hint(setting.kind));
    // Of a path by its place there may be several at once, of a flag only one after the other.
    let arg = match setting.flag {
        Flag::Place => arg.num_args(1..),
        Flag::None | Flag::Value(_) | Flag::On(_) | Flag::Off(..) => arg,
    };
    let arg = if setting.kind.adds_up() {
        arg.action(ArgAction::Append)
    } else {
        arg.action(ArgAction::Set)
    };
    match setting.kind {
        Kind::Choice(_, choices) => {
            let choices = choices.iter();
            let named = choices.map(|(name, meaning)| PossibleValue::new(*name).help(*meaning));
            arg.value_parser(PossibleValuesParser::new(named))
        }
        Kind::Bool
        | Kind::Count
        | Kind::CountOrNone
        | Kind::Size
        | Kind::Time
        | Kind::TimeOrNever
        | Kind::Mode
        | Kind::Text(_)
        | Kind::File
        | Kind::List(_)
        | Kind::Paths
        | Kind::Folders
        | Kind::Sizes
        | Kind::Variables => arg.value_parser(OsStringValueParser::new()),
    }
}

/// What a shell may complete a value with.
fn hint(kind: Kind) -> ValueHint {
    match kind {
        Kind::File => ValueHint::FilePath,
        Kind::Paths => ValueHint::AnyPath,
        Kind::List(Item::Address) => ValueHint::Hostname,
        Kind::Bool
        | Kind::Count
        | Kind::CountOrNone
        | Kind::Size
        | Kind::Time
        | Kind::TimeOrNever
        | Kind::Mode
        | Kind::Choice(..)
        | Kind::Text(_)
        | Kind::List(_)
        | Kind::Folders
        | Kind::Sizes
        | Kind::Variables => ValueHint::Other,
    }
}
