//! Which key somebody meant who wrote one that is none.
//!
//! Called by `file`, and by `load` for variables. Knows names only. A key counts as near by its whole path, for a slip of the pen, or by
//! its last part, for one in a wrong section.

use super::load::CONFIG_VARIABLE;
use super::{Setting, all};

/// What the names of all variables begin with.
const PREFIX: &str = "SWITCHBOARD_";

/// How alike two names must be, of 1. Below it a guess is more likely to mislead than to help.
const ALIKE_MIN: f64 = 0.75;

/// How alike the last parts of two paths must be, of 1, for the paths to be alike.
const LAST_ALIKE_MIN: f64 = 0.5;

/// What a name in the wrong section counts, beside one that is alike as a whole.
const ELSEWHERE: f64 = 0.95;

/// The nearest setting or section; of plugins only, if so asked.
pub(super) fn key(written: &str, plugins_only: bool) -> Option<String> {
    let settings = all().filter(|setting| setting.of_plugins() || !plugins_only);
    let names = settings.flat_map(|setting| {
        let section = setting.key.rsplit_once('.').map(|(section, _)| section);
        std::iter::once(setting.key).chain(section)
    });
    let scored = names.map(|name| (alike(written, name), name));
    let (score, name) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (score >= ALIKE_MIN).then(|| name.to_owned())
}

/// The variable of a setting that somebody meant who set one that is none; both as the environment has them.
pub(super) fn variable(written: &str) -> Option<String> {
    let bare = |name: &str| name.strip_prefix(PREFIX).map(str::to_owned);
    let written = bare(written)?;
    let names = all().filter_map(Setting::variable);
    let names = names.chain([CONFIG_VARIABLE.to_owned()]);
    let scored = names.filter_map(|name| {
        let score = strsim::normalized_damerau_levenshtein(&written, &bare(&name)?);
        Some((score, name))
    });
    let (score, name) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    // Others use the prefix too: Kubernetes does, in every pod beside a service of our name.
    (ALIKE_MIN..1.0).contains(&score).then_some(name)
}

fn alike(written: &str, key: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(written, key);
    let (Some((_, written)), Some((_, key))) = (written.rsplit_once('.'), key.rsplit_once('.'))
    else {
        return whole;
    };
    let last = strsim::normalized_damerau_levenshtein(written, key);
    // Long paths are alike in any case if their sections are the same.
    let whole = if last < LAST_ALIKE_MIN { 0.0 } else { whole };
    whole.max(last * ELSEWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_in_variables_are_understood_and_what_others_set_is_not_ours() {
        for (written, meant) in [
            ("SWITCHBOARD_STORE_MAX", Some("SWITCHBOARD_STORES_MAX")),
            ("SWITCHBOARD_CONFIGS", Some("SWITCHBOARD_CONFIG")),
            ("SWITCHBOARD_STORES_MAX", None),
            ("SWITCHBOARD_SERVICE_HOST", None),
            ("SWITCHBOARD_SERVICE_PORT_GRPC", None),
            ("SWITCHBOARD_PORT", None),
            ("SWITCHBOARD_PORT_50051_TCP_ADDR", None),
            ("STORE_MAX", None),
        ] {
            assert_eq!(variable(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn slips_and_wrong_sections_are_understood() {
        for (written, meant) in [
            ("limits.request_mx", Some("limits.request_max")),
            ("limit.request_max", Some("limits.request_max")),
            ("limit", Some("limits")),
            ("limits.stores_max", Some("plugin.pool.stores_max")),
            ("plugin.stores_max", Some("plugin.pool.stores_max")),
            ("tunnel.pings", Some("tunnel.ping")),
            ("tls.certificate", None),
            ("colour", None),
        ] {
            assert_eq!(key(written, false).as_deref(), meant, "{written}");
        }
        assert_eq!(
            key("plugin.pool.stores_mx", true).as_deref(),
            Some("plugin.pool.stores_max")
        );
        assert_eq!(key("plugin.ping", true), None);
    }
}
