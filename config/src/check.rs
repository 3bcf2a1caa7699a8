//! Rules across sections.

use crate::Config;
use crate::findings::Findings;
use crate::route::Route;

pub(crate) fn check<F>(
    _config: &Config<F>,
    _routes: &[(usize, Route<F>)],
    _upstreams: &[String],
    _findings: &mut Findings<'_>,
) {
}
