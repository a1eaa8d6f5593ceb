//! Where values come from: what was set while running, then the environment, then the file, then
//! the default. All problems at once.

use super::table::{Key, Setting, SettingKind, TABLE};
use super::value::{self, SettingValue};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// Not set.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(&'static str),
    /// Set by an administrator in the running process, until it ends.
    Runtime,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Runtime => f.write_str("runtime"),
        }
    }
}

/// A setting's value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// As written.
    pub text: String,
    /// As read.
    pub value: SettingValue,
    /// Where it was written.
    pub source: SettingSource,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingProblem {
    /// The variable, or the file.
    pub name: String,
    /// The value found; secrets masked.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

/// Everything that is wrong, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Problems(pub Vec<SettingProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration can't be used:")?;
        for problem in &self.0 {
            let SettingProblem { name, found, allowed } = problem;
            write!(f, "\n  {name}={found}: allowed is {allowed}")?;
        }
        Ok(())
    }
}

/// All settings, each with its value.
#[derive(Clone, Debug)]
pub(crate) struct Settings(Vec<Resolved>);

/// What was set while running, by the settings' main names.
pub(crate) type Runtime = BTreeMap<&'static str, String>;

/// Looks up a name in the environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads every setting from `runtime`, `environment`, and the file that this names.
    ///
    /// # Errors
    /// Everything that can't be read or is out of bounds.
    pub(crate) fn load(environment: Environment<'_>, runtime: &Runtime) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let file = match from_environment(&TABLE[Key::ConfigFile as usize], environment) {
            None => None,
            Some((path, _)) => match read_file(Path::new(path.trim())) {
                Ok(members) => Some((PathBuf::from(path.trim()), members)),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
        };
        if let Some((path, members)) = &file {
            problems.extend(unknown_members(path, members));
        }
        let resolved = TABLE.iter().map(|setting| {
            let (text, source) = match runtime.get(setting.name) {
                Some(text) => (text.clone(), SettingSource::Runtime),
                None => find(setting, environment, file.as_ref()),
            };
            let value = value::read(setting.kind, &text).unwrap_or_else(|allowed| {
                let found = shown(setting.kind, &text);
                let name = named(setting, &source);
                problems.push(SettingProblem { name, found, allowed });
                SettingValue::Unset
            });
            Resolved { text, value, source }
        });
        let settings = Self(resolved.collect());
        if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
    }

    /// Takes over from `newer` what may change while running. Also the names of the others
    /// that differ: they wait for the next start.
    #[must_use]
    pub(crate) fn adopt(&self, newer: Self) -> (Self, Vec<&'static str>) {
        let mut waiting = Vec::new();
        let both = TABLE.iter().zip(self.0.iter().zip(newer.0));
        let adopted = both.map(|(setting, (old, new))| {
            if setting.is_live() {
                return new;
            }
            if old.value != new.value {
                waiting.push(setting.name);
            }
            old.clone()
        });
        (Self(adopted.collect()), waiting)
    }

    /// Each setting with its value.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static Setting, &Resolved)> {
        TABLE.iter().zip(&self.0)
    }

    /// A setting's value.
    pub(crate) fn resolved(&self, key: Key) -> &Resolved {
        &self.0[key as usize]
    }

    /// Text, when set.
    pub(crate) fn text(&self, key: Key) -> Option<String> {
        match &self.resolved(key).value {
            SettingValue::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A count, milliseconds or bytes. Every such setting has a default.
    pub(crate) fn number(&self, key: Key) -> u64 {
        match self.resolved(key).value {
            SettingValue::Number(number) => number,
            _ => 0,
        }
    }

    /// The same as a `usize`, stopping at its largest.
    pub(crate) fn size(&self, key: Key) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    /// The same as a `u32`, stopping at its largest.
    pub(crate) fn small(&self, key: Key) -> u32 {
        u32::try_from(self.number(key)).unwrap_or(u32::MAX)
    }

    /// A port; the table keeps it in range.
    pub(crate) fn port(&self, key: Key) -> u16 {
        u16::try_from(self.number(key)).unwrap_or(0)
    }

    /// A switch.
    pub(crate) fn flag(&self, key: Key) -> bool {
        matches!(self.resolved(key).value, SettingValue::Flag(true))
    }

    /// An address.
    pub(crate) fn address(&self, key: Key) -> IpAddr {
        match self.resolved(key).value {
            SettingValue::Address(address) => address,
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Networks.
    pub(crate) fn networks(&self, key: Key) -> Vec<ipnet::IpNet> {
        match &self.resolved(key).value {
            SettingValue::Networks(nets) => nets.clone(),
            _ => Vec::new(),
        }
    }
}

/// Returns a value with its secrets masked.
pub(crate) fn shown(kind: SettingKind, text: &str) -> String {
    match kind {
        _ if text.is_empty() => String::new(),
        SettingKind::Secret | SettingKind::AccessToken | SettingKind::Headers => "***".into(),
        SettingKind::Dsn | SettingKind::Redis | SettingKind::Proxy => value::without_password(text),
        _ => text.to_owned(),
    }
}

type Members = serde_json::Map<String, serde_json::Value>;

fn find(
    setting: &Setting,
    environment: Environment<'_>,
    file: Option<&(PathBuf, Members)>,
) -> (String, SettingSource) {
    if let Some((text, name)) = from_environment(setting, environment) {
        return (text, SettingSource::Environment(name));
    }
    let member = file.and_then(|(path, members)| {
        let text = setting.names().find_map(|name| members.get(name).map(member_text))?;
        (!text.trim().is_empty()).then(|| (text, SettingSource::File(path.clone())))
    });
    member.unwrap_or_else(|| (setting.default.to_owned(), SettingSource::Default))
}

/// A variable that is set to nothing counts as not set.
fn from_environment(
    setting: &Setting,
    environment: Environment<'_>,
) -> Option<(String, &'static str)> {
    setting.names().find_map(|name| {
        environment(name).filter(|text| !text.trim().is_empty()).map(|text| (text, name))
    })
}

fn named(setting: &Setting, source: &SettingSource) -> String {
    match source {
        SettingSource::Environment(name) => (*name).to_owned(),
        SettingSource::File(path) => format!("{}: {}", path.display(), setting.name),
        SettingSource::Default | SettingSource::Runtime => setting.name.to_owned(),
    }
}

fn read_file(path: &Path) -> Result<Members, SettingProblem> {
    let problem = |found: String| SettingProblem {
        name: "CUSTOM_PASS_CONFIG_FILE".into(),
        found: format!("{} ({found})", path.display()),
        allowed: "a JSON object of settings by name, like {\"PORT\": 3000}".into(),
    };
    let text = std::fs::read_to_string(path).map_err(|e| problem(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| problem(e.to_string()))
}

fn member_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        serde_json::Value::Array(items) => {
            items.iter().map(member_text).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn unknown_members<'a>(
    path: &'a Path,
    members: &'a Members,
) -> impl Iterator<Item = SettingProblem> + use<'a> {
    let known = |name: &str| TABLE.iter().any(|setting| setting.names().any(|n| n == name));
    members.keys().filter(move |name| !known(name)).map(|name| SettingProblem {
        name: format!("{}: {name}", path.display()),
        found: "(unknown)".into(),
        allowed: "only names that `newapi config` prints".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Settings, Problems> {
        let vars: Vec<(String, String)> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::load(
            &move |name| vars.iter().find(|(k, _)| k == name).map(|(_, value)| value.clone()),
            &Runtime::new(),
        )
    }

    #[test]
    fn the_defaults_are_all_readable() {
        let settings = with(&[]).unwrap();
        assert_eq!(settings.number(Key::HttpTimeout), 30_000);
        assert_eq!(settings.port(Key::Port), 3000);
        assert!(settings.all().all(|(_, r)| r.source == SettingSource::Default));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        std::fs::write(&path, r#"{"PORT": 4000, "LOG_LEVEL": "debug", "HTTP_PROXY": null}"#)
            .unwrap();
        let path = path.to_str().unwrap();
        let settings = with(&[("CUSTOM_PASS_CONFIG_FILE", path), ("PORT", "5000")]).unwrap();
        assert_eq!(settings.port(Key::Port), 5000);
        assert_eq!(settings.resolved(Key::Port).source, SettingSource::Environment("PORT"));
        assert_eq!(settings.text(Key::LogLevel).as_deref(), Some("debug"));
        assert!(matches!(settings.resolved(Key::LogLevel).source, SettingSource::File(_)));
    }

    #[test]
    fn says_everything_that_is_wrong_at_once_and_no_secret() {
        let Problems(problems) = with(&[
            ("PORT", "70000"),
            ("CUSTOM_PASS_HTTP_TIMEOUT", "soon"),
            ("HTTP_PROXY", "ftp://user:hush@proxy"),
            ("CUSTOM_PASS_CONFIG_FILE", "/nonexistent/c.json"),
        ])
        .unwrap_err();
        assert_eq!(problems.len(), 4);
        let words = Problems(problems).to_string();
        assert!(words.contains("CUSTOM_PASS_HTTP_TIMEOUT=soon") && words.contains("500ms"));
        assert!(!words.contains("hush"));
    }

    #[test]
    fn the_more_particular_name_wins() {
        let settings = with(&[("MEMORY_LIMIT", "1GiB"), ("GOMEMLIMIT", "2GiB")]).unwrap();
        assert_eq!(settings.number(Key::MemoryLimit), 1 << 30);
        let settings = with(&[("http_proxy", "http://p:1")]).unwrap();
        assert_eq!(settings.text(Key::HttpProxy).as_deref(), Some("http://p:1"));
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value() {
        let old = with(&[]).unwrap();
        let new = with(&[("PORT", "5000"), ("CUSTOM_PASS_HTTP_TIMEOUT", "5s")]).unwrap();
        let (adopted, waiting) = old.adopt(new);
        assert_eq!((adopted.port(Key::Port), adopted.number(Key::HttpTimeout)), (3000, 5_000));
        assert_eq!(waiting, ["PORT"]);
    }
}
