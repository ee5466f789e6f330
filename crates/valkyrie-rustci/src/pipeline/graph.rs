//! Cycles in `needs`.

use super::JobIndex;

/// Finds a cycle in "job needs jobs", as the list of jobs along it, or nothing.
///
/// Walks depth first with a stack of its own, so the depth of the graph is not the depth of calls.
pub(super) fn cycle(needs: &[Vec<JobIndex>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unseen,
        OnPath,
        Clear,
    }
    let mut marks = vec![Mark::Unseen; needs.len()];
    for start in 0..needs.len() {
        if marks[start] != Mark::Unseen {
            continue;
        }
        // Each entry: a job on the path and how many of its needs have been followed.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        marks[start] = Mark::OnPath;
        while let Some((job, followed)) = path.last_mut() {
            let Some(need) = needs[*job].get(*followed) else {
                marks[*job] = Mark::Clear;
                path.pop();
                continue;
            };
            *followed += 1;
            let need = need.as_usize();
            match marks.get(need) {
                Some(Mark::Unseen) => {
                    marks[need] = Mark::OnPath;
                    path.push((need, 0));
                }
                Some(Mark::OnPath) => {
                    let from = path.iter().position(|(job, _)| *job == need).unwrap_or(0);
                    return Some(path[from..].iter().map(|(job, _)| *job).collect());
                }
                Some(Mark::Clear) | None => {}
            }
        }
    }
    None
}
