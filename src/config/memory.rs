//! How much memory this process may have, by its control groups (cgroup v2, and v1 on older systems).

use std::io::Read as _;
use std::path::Path;

use super::reference::Surroundings;

const OWN_GROUPS: &str = "/proc/self/cgroup";
/// Version 1 writes the largest number of pages for no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The least limit of all groups that this process is in, in bytes; none if there is none.
pub(super) fn limit(surroundings: &Surroundings<'_>) -> Option<u64> {
    let groups = read(surroundings, Path::new(OWN_GROUPS))?;
    let limits = groups.lines().filter_map(|line| {
        // As `0::/a/b`, or `4:memory:/a/b`.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            of if of.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the group that is named may be the host's, and the root is the container's own.
        let within = Path::new(group.trim_start_matches('/')).ancestors();
        within
            .filter_map(|group| read(surroundings, &Path::new(root).join(group).join(file))?.trim().parse().ok())
            .min()
    });
    limits.min().filter(|limit| *limit < NO_LIMIT)
}

fn read(surroundings: &Surroundings<'_>, path: &Path) -> Option<String> {
    let mut text = String::new();
    (surroundings.open)(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn limit_by(files: &[(&str, &str)]) -> Option<u64> {
        let open = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            let (_, text) = found.ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(io::Cursor::new((*text).to_owned())) as Box<dyn io::Read>)
        };
        limit(&Surroundings { variable: &|_| Err(std::env::VarError::NotPresent), open: &open })
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let own = (OWN_GROUPS, "0::/pods/twinlog\n");
        let file = |group: &'static str, text| (group, text);
        let pod = file("/sys/fs/cgroup/pods/memory.max", "1000\n");
        let below = file("/sys/fs/cgroup/pods/twinlog/memory.max", "2000\n");
        assert_eq!(limit_by(&[own, pod, below]), Some(1_000));
        assert_eq!(limit_by(&[own, below]), Some(2_000));
        assert_eq!(limit_by(&[own, file("/sys/fs/cgroup/pods/twinlog/memory.max", "max\n")]), None);
        assert_eq!(limit_by(&[own]), None);
        assert_eq!(limit_by(&[]), None);
        // A container sees its own group as the root.
        assert_eq!(limit_by(&[(OWN_GROUPS, "0::/\n"), file("/sys/fs/cgroup/memory.max", "3000\n")]), Some(3_000));
    }

    #[test]
    fn the_first_version_has_a_file_of_its_own_and_a_number_for_no_limit() {
        let own = (OWN_GROUPS, "8:pids:/x\n4:cpu,memory:/docker/1\n0::/\n");
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(limit_by(&[own, (root, "536870912\n")]), Some(512 << 20));
        assert_eq!(limit_by(&[own, (root, "9223372036854771712\n")]), None);
    }
}
