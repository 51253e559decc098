//! What the rewrite module does to a request, and the variables that a configuration makes itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::config::pattern::Pattern;
use crate::config::template::Template;

/// Instructions that run one after another.
pub type Program = Vec<Instruction>;

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `set $name value`.
    Set {
        /// What is set.
        variable: Settable,
        /// To what.
        value: Template,
    },
    /// `rewrite pattern replacement [flag]`.
    Rewrite(Rewrite),
    /// `return`.
    Return(Return),
    /// `break`: no more instructions of this kind for the request.
    Break,
    /// `if (…) { … }`.
    If {
        /// When the block is entered.
        condition: Condition,
        /// What runs inside.
        then: Program,
        /// In a location, the route whose settings and action hold inside; none in a server.
        route: Option<usize>,
    },
}

/// What `set` may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settable {
    /// A variable of the user's own, by its slot in [`super::Config::variables`].
    Own(usize),
    /// `$args`.
    Args,
    /// `$limit_rate`, which limits nothing yet.
    LimitRate,
}

/// Replaces the path where a pattern matches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// What the path must match.
    pub pattern: Pattern,
    /// The new path, with a query behind its `?`.
    pub replacement: Template,
    /// Whether the old query is appended: not where the replacement ends with `?`.
    pub keep_args: bool,
    /// What follows.
    pub then: Then,
}

/// What follows a rewrite that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next instruction; with the new path another route is looked for at the end.
    Next,
    /// `last`: another route is looked for at once.
    Last,
    /// `break`: the route stays.
    Break,
    /// The client is told to go there, with this status.
    Redirect(u16),
}

/// `return CODE [text]`, `return CODE URL`, `return URL`.
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// The status; 444 closes the connection without an answer.
    pub status: u16,
    /// The body, or where to go for 301, 302, 303, 307 and 308.
    pub text: Option<Template>,
}

/// What an `if` asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Neither empty nor `0`.
    True(Template),
    /// `=` or, negated, `!=`.
    Equal {
        /// A variable.
        left: Template,
        /// What it is compared with.
        right: Template,
        /// Whether it must differ.
        negated: bool,
    },
    /// `~`, `~*`, `!~`, `!~*`.
    Match {
        /// A variable.
        subject: Template,
        /// What it must match.
        pattern: Pattern,
        /// Whether it must not.
        negated: bool,
    },
    /// `-f`, `-d`, `-e`, `-x` and their negations.
    File {
        /// What must be there.
        test: FileTest,
        /// Its path.
        path: Template,
        /// Whether it must not be there.
        negated: bool,
    },
}

/// What a path must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    /// `-f`: a file.
    File,
    /// `-d`: a directory.
    Directory,
    /// `-e`: a file, directory or symbolic link.
    Exists,
    /// `-x`: something that may be run.
    Executable,
}

/// A variable that the configuration makes; its place in [`super::Config::variables`] is its slot.
#[derive(Clone, Debug, PartialEq)]
pub struct UserVariable {
    /// Its name without the dollar sign, lower case.
    pub name: String,
    /// Where its value comes from.
    pub source: VariableSource,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VariableSource {
    /// `set`, or a group of a pattern: empty until then.
    Assigned,
    /// `map`.
    Map(Map),
    /// `geo`.
    Geo(Geo),
    /// `split_clients`.
    Split(Split),
}

/// `map source $name { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// What is looked up.
    pub source: Template,
    /// `hostnames`: keys may be wildcards, and a dot at the end is dropped.
    pub hostnames: bool,
    /// `volatile`: worked out each time it is asked for.
    pub volatile: bool,
    /// Texts, lower case, with their values.
    pub exact: BTreeMap<String, Template>,
    /// With `hostnames`: what follows the star of `*.example.org`, longest first.
    pub suffixes: Vec<(String, Template)>,
    /// With `hostnames`: what comes before the star of `www.example.*`, longest first.
    pub prefixes: Vec<(String, Template)>,
    /// Patterns in the order of the file.
    pub patterns: Vec<(Pattern, Template)>,
    /// What else. Default: empty.
    pub default: Template,
}

/// `geo [$address] $name { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Geo {
    /// What is looked up; none for the client's address.
    pub source: Option<Template>,
    /// Networks with their values.
    pub networks: BTreeMap<IpNet, String>,
    /// The lengths of these networks' prefixes, longest first.
    pub lengths: Vec<u8>,
    /// Ranges of addresses (`ranges`): the first of each, with the last and the value. None overlap.
    pub ranges: BTreeMap<Ipv4Addr, (Ipv4Addr, String)>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
    /// `proxy_recursive`.
    pub recursive: bool,
    /// What else. Default: empty.
    pub default: String,
}

/// `split_clients key $name { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What is hashed.
    pub key: Template,
    /// Upper bounds of the hash, in order, with their values; one without a bound is the rest.
    pub parts: Vec<(Option<u32>, String)>,
}

/// `try_files`.
#[derive(Clone, Debug, PartialEq)]
pub struct TryFiles {
    /// Paths below the root; one that ends with `/` is a directory.
    pub paths: Vec<TryPath>,
    /// What follows where none is there.
    pub otherwise: Otherwise,
}

/// One path of `try_files`.
#[derive(Clone, Debug, PartialEq)]
pub struct TryPath {
    /// The path without the slash that ends a directory's.
    pub path: Template,
    /// Whether it must be a directory.
    pub directory: bool,
}

/// What follows where no file was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Otherwise {
    /// `=CODE`.
    Status(u16),
    /// Another path, from the beginning, with its query; what begins with `@` is a named route.
    Path(Template),
}

/// Where a directory of files begins. What does not begin with `/` is below
/// [`super::Config::prefix`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Root {
    /// Nothing was said: `html` for routes; a server without routes serves nothing.
    #[default]
    Html,
    /// `root`: the path is appended to it.
    Root(Template),
    /// `alias`: takes the place of what the route's path matched.
    Alias {
        /// What takes its place.
        to: Template,
        /// How many bytes of the path it replaces; none: all of it, as with a pattern.
        replaces: Option<usize>,
    },
}
