//! Which cgroups are followed: the words of the command line, and whether a cgroup fits them.
//!
//! In: `cgroup:GLOB`, `unit:GLOB`, `engine:NAME`, `container:GLOB`, `image:GLOB`, `namespace:GLOB`, `pod:NS/GLOB`,
//! `label:KEY=GLOB`; a bare word is a container's name, one that begins with `/` a cgroup. Several joined by commas must
//! all fit. Out: a [`Verdict`].

use std::path::Path;

use crate::container::inventory::{Inventory, Running};
use crate::container::patterns::{self, Container, Engine};
use crate::text;

/// Whether a cgroup fits. A better answer is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does not.
    No,
    /// It may, once its engine has written down what it is.
    Unknown,
    /// It does.
    Yes,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Cgroup(String),
    Unit(String),
    Engine(String),
    Container(String),
    Image(String),
    Namespace(String),
    Pod(String, String),
    Label(String, String),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

impl Selector {
    /// Reads a word of the command line.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(word: &str) -> Result<Self, String> {
        let terms = word.split(',').map(Term::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(terms))
    }

    /// Its condition, if it is the only one.
    pub(super) fn only_term(&self) -> Option<&Term> {
        match self.0.as_slice() {
            [term] => Some(term),
            _ => None,
        }
    }

    /// Whether a cgroup fits all conditions.
    pub fn judge(&self, candidate: &Candidate<'_>) -> Verdict {
        self.0.iter().map(|term| term.judge(candidate)).min().unwrap_or(Verdict::No)
    }
}

impl Term {
    fn parse(word: &str) -> Result<Self, String> {
        let unknown = || {
            let word = text::safe(word.as_ref());
            format!(
                "`{word}` is no selector: expected cgroup:, unit:, engine:, container:, image:, namespace:, pod: or label:"
            )
        };
        let (key, value) = match word.split_once(':') {
            Some((key, value)) if !word.starts_with('/') => (key, value),
            _ if word.starts_with('/') => ("cgroup", word),
            _ => ("container", word),
        };
        if value.is_empty() {
            return Err(unknown());
        }
        let value = value.to_owned();
        Ok(match key {
            "cgroup" => Self::Cgroup(value),
            "unit" => Self::Unit(value),
            "engine" if Engine::ALL.iter().any(|engine| engine.name() == value) => Self::Engine(value),
            "engine" => {
                let (value, known) = (text::safe(value.as_ref()), Engine::ALL.map(Engine::name).join(", "));
                return Err(format!("no engine is called `{value}`: expected {known}"));
            }
            "container" => Self::Container(value),
            "image" => Self::Image(value),
            "namespace" => Self::Namespace(value),
            "pod" => {
                let (namespace, name) = value.split_once('/').unwrap_or(("*", &value));
                Self::Pod(namespace.to_owned(), name.to_owned())
            }
            "label" => {
                let (key, value) = value.split_once('=').unwrap_or((&value, "*"));
                Self::Label(key.to_owned(), value.to_owned())
            }
            _ => return Err(unknown()),
        })
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Verdict {
        let sure = |fits: bool| if fits { Verdict::Yes } else { Verdict::No };
        let known = |fits: &dyn Fn(&Running) -> bool| match candidate.running {
            _ if candidate.is_inside => Verdict::No,
            Some(running) if fits(running) => Verdict::Yes,
            Some(running) if !running.may_be_told => Verdict::No,
            _ => Verdict::Unknown,
        };
        match self {
            Self::Cgroup(glob) => sure(fits_path(glob, candidate.path)),
            Self::Unit(glob) => sure(candidate.unit().is_some_and(|unit| fits(glob, unit))),
            Self::Engine(name) => match (candidate.engine(), candidate.is_inside) {
                (Some(engine), false) => sure(engine.name() == name),
                (_, true) => Verdict::No,
                (None, false) => Verdict::Unknown,
            },
            Self::Container(glob) => match &candidate.container {
                Some(container) if fits(glob, &container.id) => sure(!candidate.is_inside),
                _ => known(&|running| names_fit(glob, running)),
            },
            Self::Image(glob) => {
                known(&|running| running.image.as_deref().is_some_and(|image| fits(glob, image)))
            }
            Self::Namespace(glob) => known(&|running| fits(glob, &running.pod.namespace)),
            Self::Pod(namespace, name) => known(&|running| {
                let pod = &running.pod;
                !pod.name.is_empty() && fits(name, &pod.name) && fits(namespace, &pod.namespace)
            }),
            Self::Label(key, glob) => {
                known(&|running| running.labels.get(key).is_some_and(|value| fits(glob, value)))
            }
        }
    }
}

fn names_fit(glob: &str, running: &Running) -> bool {
    fits(glob, &running.id)
        || running.names.iter().any(|name| fits(glob, name))
        || !running.pod.container.is_empty() && fits(glob, &running.pod.container)
        || running.has_name() && fits(glob, &running.name())
}

/// A cgroup that may be followed.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its path in the hierarchy.
    path: &'a Path,
    /// What the path tells of a container.
    container: Option<Container>,
    /// What its engine wrote down of it.
    running: Option<&'a Running>,
    /// A cgroup that a container made inside of its own.
    is_inside: bool,
}

impl<'a> Candidate<'a> {
    /// `path` is in the hierarchy, `directory` in the file system.
    pub fn new(path: &'a Path, directory: &Path, inventory: &'a Inventory) -> Self {
        let container = patterns::from_cgroup_path(path);
        let above = path.parent().and_then(patterns::from_cgroup_path);
        let by_pattern = match (&container, &above) {
            (Some(own), Some(above)) => own.id == above.id,
            _ => false,
        };
        let running = inventory.of_directory(directory);
        let by_state =
            running.is_some_and(|running| running.directory.as_deref().is_some_and(|own| own != directory));
        Self { path, container, running, is_inside: by_pattern || by_state }
    }

    /// The container or unit.
    pub fn name(&self) -> Option<String> {
        let running = self.running.map(Running::label);
        let container = || self.container.as_ref().map(Container::label);
        running.or_else(container).or_else(|| self.unit().map(|unit| text::safe(unit.as_ref())))
    }

    fn engine(&self) -> Option<Engine> {
        let of_path = self.container.as_ref().map(|container| container.engine);
        of_path.or_else(|| self.running.and_then(|running| running.engine))
    }

    fn unit(&self) -> Option<&str> {
        let name = self.path.file_name()?.to_str()?;
        [".service", ".scope", ".slice"].iter().any(|end| name.ends_with(end)).then_some(name)
    }
}

/// `*` is any text without a slash, `**` any text, `?` one character that is no slash.
pub(super) fn fits_path(glob: &str, path: &Path) -> bool {
    path.to_str().is_some_and(|path| matches(glob.as_bytes(), path.as_bytes(), true))
}

/// `*` is any text, `?` any character.
fn fits(glob: &str, text: &str) -> bool {
    matches(glob.as_bytes(), text.as_bytes(), false)
}

/// In time proportional to the product of the lengths, whatever the pattern.
fn matches(glob: &[u8], text: &[u8], slashes: bool) -> bool {
    // reached[i]: the pattern so far fits the first i bytes of the text.
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    let mut rest = glob;
    while let Some((&symbol, after)) = rest.split_first() {
        let double = slashes && symbol == b'*' && after.first() == Some(&b'*');
        rest = if double { after.get(1..).unwrap_or_default() } else { after };
        let crosses = !slashes || double;
        let mut next = vec![false; text.len() + 1];
        let mut carried = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let before = at.checked_sub(1).and_then(|at| text.get(at)).copied();
            let here = reached.get(at).copied().unwrap_or(false);
            let previous = at.checked_sub(1).and_then(|at| reached.get(at)).copied().unwrap_or(false);
            let passes = crosses || before != Some(b'/');
            *slot = match symbol {
                b'*' => {
                    carried = here || carried && passes;
                    carried
                }
                b'?' => previous && before.is_some() && passes,
                symbol => previous && before == Some(symbol),
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_between_slashes_in_paths_only() {
        let path = |glob: &str, path: &str| fits_path(glob, Path::new(path));
        assert!(
            path("/demo/*", "/demo/web") && !path("/demo/*", "/demo/web/inner") && !path("/demo/*", "/demo")
        );
        assert!(path("/demo/**", "/demo/web/inner") && path("/**/x", "/a/b/x") && path("/a/?", "/a/b"));
        assert!(!path("/a?b", "/a/b") && !path("/demo", "/demo2") && path("/*.slice/*", "/a.slice/b"));
        assert!(fits("*", "") && fits("web-*", "web-1/2") && !fits("web-*", "web") && fits("a*b*c", "aXbYc"));
        let hostile = "*a".repeat(200);
        assert!(!fits(&hostile, &"b".repeat(4000)));
    }

    #[test]
    fn words_are_read_strictly() {
        assert_eq!(Selector::parse("web*").unwrap().0, [Term::Container("web*".into())]);
        assert_eq!(Selector::parse("/k.slice:x").unwrap().0, [Term::Cgroup("/k.slice:x".into())]);
        assert_eq!(Selector::parse("engine:docker,label:a=b").unwrap().0.len(), 2);
        assert_eq!(Selector::parse("pod:web").unwrap().0, [Term::Pod("*".into(), "web".into())]);
        for bad in ["", "frob:x", "cgroup:", "a,", "engine:docker,,x", "engine:dokcer", "engine:*"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_path_tells_is_known_at_once_and_names_are_waited_for() {
        let id = "ab".repeat(32);
        let path = format!("/docker/{id}");
        let nothing = Inventory::default();
        let judge = |word: &str, path: &str| {
            let candidate = Candidate::new(Path::new(path), Path::new(path), &nothing);
            Selector::parse(word).unwrap().judge(&candidate)
        };
        assert_eq!(judge("engine:docker", &path), Verdict::Yes);
        assert_eq!(judge("engine:podman", &path), Verdict::No);
        assert_eq!(judge("abab*", &path), Verdict::Yes);
        assert_eq!(judge("web", &path), Verdict::Unknown);
        assert_eq!(judge("web,engine:podman", &path), Verdict::No);
        assert_eq!(judge("engine:docker", &format!("{path}/init.scope")), Verdict::No, "a part of it");
        assert_eq!(judge("unit:web*", "/system.slice/web.service"), Verdict::Yes);
        assert_eq!(judge("unit:web*", "/system.slice/web.service/inner"), Verdict::No);
    }
}
