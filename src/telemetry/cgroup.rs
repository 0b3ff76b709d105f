//! The limits that a container sets: memory and processor of the control
//! group, version 2, or version 1 where that is what the system has.

use std::path::{Path, PathBuf};

/// What the control group allows and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupFigures {
    /// Memory it may use, in bytes; `None` where there is no limit.
    pub memory_bytes_max: Option<u64>,
    /// Memory it uses, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time it may use, in cores; `None` where there is no limit.
    pub cpu_cores_max: Option<f64>,
}

/// Larger limits are how version 1 writes "none".
const NO_LIMIT_BYTES: u64 = 1 << 60;

impl CgroupFigures {
    /// Reads them; `None` where there is no control group to be seen. For the
    /// control thread.
    #[must_use]
    pub fn read() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::of(Path::new("/sys/fs/cgroup"), &groups)
    }

    fn of(root: &Path, groups: &str) -> Option<Self> {
        let of_controller = |wanted: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                controllers
                    .split(',')
                    .any(|name| name == wanted)
                    .then(|| path.trim_start_matches('/').to_owned())
            })
        };
        if let Some(path) = of_controller("") {
            // In a container the path is that of the host and not there; the
            // group itself is then the root.
            let group = existing(root, &root.join(path), "memory.max");
            if let Some(group) = group {
                return Some(Self {
                    memory_bytes_max: number(&group.join("memory.max")),
                    memory_bytes: number(&group.join("memory.current")),
                    cpu_cores_max: quota(&group.join("cpu.max")),
                });
            }
        }
        let memory = root.join("memory");
        let own = memory.join(of_controller("memory").unwrap_or_default());
        let memory = existing(&memory, &own, "memory.limit_in_bytes");
        let cpu = root.join("cpu");
        let own = cpu.join(of_controller("cpu").unwrap_or_default());
        let cpu = existing(&cpu, &own, "cpu.cfs_quota_us");
        if memory.is_none() && cpu.is_none() {
            return None;
        }
        let in_memory = |name: &str| number(&memory.as_ref()?.join(name));
        let in_cpu = |name: &str| number(&cpu.as_ref()?.join(name));
        Some(Self {
            memory_bytes_max: in_memory("memory.limit_in_bytes")
                .filter(|bytes| *bytes < NO_LIMIT_BYTES),
            memory_bytes: in_memory("memory.usage_in_bytes"),
            cpu_cores_max: in_cpu("cpu.cfs_quota_us")
                .zip(in_cpu("cpu.cfs_period_us"))
                .and_then(|(quota, period)| cores(quota, period)),
        })
    }
}

/// The folder in which `file` is: `own`, else `root`.
fn existing(root: &Path, own: &Path, file: &str) -> Option<PathBuf> {
    [own, root]
        .into_iter()
        .find(|folder| folder.join(file).exists())
        .map(Path::to_owned)
}

/// A file that holds one number; `max` and negative ones are none.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `cpu.max`: quota and period.
fn quota(file: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    cores(quota.parse().ok()?, period.parse().ok()?)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^53")]
fn cores(quota: u64, period: u64) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn version_two_is_read_from_its_group_or_from_the_root() {
        let files = [
            ("memory.max", "536870912\n"),
            ("memory.current", "1048576\n"),
            ("cpu.max", "150000 100000\n"),
            ("system.slice/memory.max", "max\n"),
            ("system.slice/cpu.max", "max 100000\n"),
        ];
        let root = tree(&files);
        let in_container = CgroupFigures::of(root.path(), "0::/docker/abc\n").unwrap();
        assert_eq!(in_container.memory_bytes_max, Some(512 << 20));
        assert_eq!(in_container.memory_bytes, Some(1 << 20));
        assert_eq!(in_container.cpu_cores_max, Some(1.5));
        let free = CgroupFigures::of(root.path(), "0::/system.slice\n").unwrap();
        assert_eq!(free, CgroupFigures::default());
    }

    #[test]
    fn version_one_is_read_by_controller() {
        let root = tree(&[
            ("memory/pod/memory.limit_in_bytes", "268435456\n"),
            ("memory/pod/memory.usage_in_bytes", "4096\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        let groups = "4:memory:/pod\n3:cpu,cpuacct:/elsewhere\n";
        let figures = CgroupFigures::of(root.path(), groups).unwrap();
        assert_eq!(figures.memory_bytes_max, Some(256 << 20));
        assert_eq!(figures.memory_bytes, Some(4_096));
        assert_eq!(figures.cpu_cores_max, None);
    }

    #[test]
    fn where_there_is_none_nothing_is_said() {
        let root = tree(&[]);
        assert_eq!(CgroupFigures::of(root.path(), "0::/\n"), None);
    }
}
