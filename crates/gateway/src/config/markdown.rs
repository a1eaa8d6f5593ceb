//! `docs/configuration.md`, made from the table of settings.

use super::table::{Change, MEANINGLESS, Setting, SettingKind, TABLE};
use super::value;
use std::fmt::Write;

const HEAD: &str = "\
# Settings

Made by `newapi config --markdown` from the table of settings; a test fails when it is stale.

A channel's own `setting` wins over the environment, the environment over the file
(`CUSTOM_PASS_CONFIG_FILE`, a JSON object by the same names), the file over the default. A variable
that is set to nothing counts as not set. Of several names the first that is set wins.
`newapi config` shows what each setting is here, and who has set it.

Those that are *live* follow a change of the file while running, within two seconds or at a SIGHUP;
calls that are under way keep what they began with. The others keep their value until
the next start, for the reason that the table names, and a line of the log says so. A file that
can't be used changes nothing, and the log says why.

| setting | other names | allowed | default | a change takes effect | |
|---|---|---|---|---|---|
";

const MEANINGLESS_HEAD: &str = "
## Without effect

Known from other systems. They are accepted, and the log says at the start that they do nothing.

| setting | why |
|---|---|
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    for setting in TABLE {
        row(&mut page, setting);
    }
    page.push_str(MEANINGLESS_HEAD);
    for (name, why) in MEANINGLESS {
        // Writing to a String can't fail.
        let _ = writeln!(page, "| `{name}` | {why} |");
    }
    page
}

fn row(page: &mut String, setting: &Setting) {
    let Setting { name, meaning, .. } = setting;
    let also: Vec<String> = setting.also.iter().map(|name| code(name)).collect();
    let (also, default) = (also.join(", "), code(setting.default));
    let allowed = allowed(setting.kind);
    let when = match setting.change {
        Change::Live => "live".to_owned(),
        Change::AtStart(why) => format!("at the start: {why}"),
    };
    let _ = writeln!(page, "| `{name}` | {also} | {allowed} | {default} | {when} | {meaning} |");
}

fn allowed(kind: SettingKind) -> String {
    match kind {
        SettingKind::Secret => "any text; never shown".into(),
        SettingKind::AccessToken => format!("{}; never shown", value::allowed(kind)),
        SettingKind::Headers => format!("{}; never shown", value::allowed(kind)),
        SettingKind::Word(words) => {
            words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ")
        }
        other => value::allowed(other),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_this_table() {
        let kept = include_str!("../../../../docs/configuration.md");
        assert!(
            kept == super::page(),
            "docs/configuration.md is stale; make it again with \
             `cargo run -- config --markdown > docs/configuration.md`"
        );
    }
}
