//! Who started this process, and which of how many it is: torchrun, srun, mpirun, or nobody but a person.
//!
//! A run is one process for now. Started as several, each would train the same run alone and they would overwrite one
//! another, so all of them refuse ([`Launch::single`]).

use crate::exit::{Because, Exit};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::Path;

/// Where torchrun wants to find the reason of a failure.
const ERROR_FILE: &str = "TORCHELASTIC_ERROR_FILE";

/// This process among those that were started together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// `torchrun`, `srun`, `mpirun` or `nobody`.
    pub by: &'static str,
    pub rank: u32,
    pub world_size: u32,
    /// The rank on this machine.
    pub local_rank: u32,
    /// Which variables said so.
    pub why: String,
}

/// A launcher and its variables: rank, number of processes, rank on the machine.
struct Launcher {
    by: &'static str,
    /// Must be set, too. A shell inside a SLURM allocation has most variables, but only a step has this one.
    needs: Option<&'static str>,
    variables: [&'static str; 3],
}

/// In the order in which they count: torchrun may run inside a SLURM step, and srun starts MPI programs.
const LAUNCHERS: [Launcher; 4] = [
    Launcher { by: "torchrun", needs: None, variables: ["RANK", "WORLD_SIZE", "LOCAL_RANK"] },
    Launcher {
        by: "srun",
        needs: Some("SLURM_STEP_ID"),
        variables: ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"],
    },
    Launcher {
        by: "mpirun",
        needs: None,
        variables: ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"],
    },
    Launcher { by: "mpirun", needs: None, variables: ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"] },
];

impl Launch {
    /// From this process's environment.
    ///
    /// # Errors
    /// [`Exit::Config`]: a variable that is no number, with its name, or a rank outside the world.
    pub fn detect() -> Result<Self> {
        Self::from(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())).because(Exit::Config)
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| get(name).is_some_and(|v| !v.is_empty());
        let found = LAUNCHERS.iter().find(|l| set(l.variables[0]) && set(l.variables[1]) && l.needs.is_none_or(set));
        let Some(Launcher { by, variables, .. }) = found else {
            let why = "no variable of torchrun, srun or mpirun is set".to_owned();
            return Ok(Self { by: "nobody", rank: 0, world_size: 1, local_rank: 0, why });
        };
        let number = |name: &str| -> Result<Option<u32>> {
            let Some(text) = get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            let number = text.parse().with_context(|| format!("{name}={text:?}, set by {by}, is no number"));
            number.map(Some)
        };
        let [rank, world, local] = variables;
        let (rank, world_size) = (number(rank)?.unwrap_or(0), number(world)?.unwrap_or(1));
        if rank >= world_size {
            bail!("{}={rank}, but {world}={world_size}: {by} counts ranks from 0", variables[0]);
        }
        let told: Vec<String> = variables.iter().filter_map(|name| Some(format!("{name}={}", get(name)?))).collect();
        Ok(Self { by, rank, world_size, local_rank: number(local)?.unwrap_or(0), why: told.join(", ") })
    }

    /// # Errors
    /// [`Exit::Config`] if there are several processes, on each of them.
    pub fn single(&self) -> Result<()> {
        if self.world_size <= 1 {
            return Ok(());
        }
        let one = match self.by {
            "torchrun" => "torchrun --nproc-per-node=1 --nnodes=1",
            "srun" => "srun --ntasks=1",
            _ => "mpirun -n 1",
        };
        Err(anyhow::anyhow!(
            "{} started {} processes ({}), but a run is one process for now; nothing was trained. Start it with `{one}`, or without a launcher",
            self.by,
            self.world_size,
            self.why
        ))
        .because(Exit::Config)
    }
}

/// Leaves the reason of a failure where torchrun looks for it, so that its summary names it. Does nothing without torchrun.
pub fn tell_torchrun(error: &str) {
    let Some(path) = std::env::var_os(ERROR_FILE).filter(|path| !path.is_empty()) else { return };
    // It says itself when there is no file.
    let _ = write_error(Path::new(&path), error);
}

fn write_error(path: &Path, error: &str) -> std::io::Result<()> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let info = json!({"py_callstack": error, "timestamp": seconds.to_string()});
    let file = json!({"message": {"message": error, "extraInfo": info}});
    crate::fs::write_atomic(path, file.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code;

    fn launch(variables: &[(&str, &str)]) -> Result<Launch> {
        Launch::from(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn facts(variables: &[(&str, &str)]) -> (&'static str, u32, u32, u32) {
        let l = launch(variables).unwrap();
        (l.by, l.rank, l.world_size, l.local_rank)
    }

    const SRUN: [(&str, &str); 3] = [("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_LOCALID", "1")];

    #[test]
    fn torchrun_counts_before_srun_and_srun_before_mpirun() {
        let torchrun = [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")];
        let step = [("SLURM_STEP_ID", "0")];
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")];
        let all = [&torchrun[..], &SRUN, &step, &mpi].concat();
        assert_eq!(facts(&all), ("torchrun", 5, 8, 1));
        assert_eq!(facts(&all[3..]), ("srun", 3, 4, 1));
        assert_eq!(facts(&all[7..]), ("mpirun", 1, 2, 1));
        assert_eq!(facts(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]), ("mpirun", 0, 1, 0));
        assert_eq!(facts(&[]), ("nobody", 0, 1, 0));
    }

    #[test]
    fn a_shell_in_an_allocation_is_no_step_and_empty_variables_are_not_set() {
        assert_eq!(facts(&SRUN).0, "nobody");
        assert_eq!(facts(&[("RANK", ""), ("WORLD_SIZE", "2")]).0, "nobody");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let error = launch(&[("RANK", "first"), ("WORLD_SIZE", "2")]).unwrap_err();
        assert!(format!("{error:#}").contains("RANK=\"first\""), "{error:#}");
        assert!(launch(&[("RANK", "2"), ("WORLD_SIZE", "2")]).is_err());
    }

    #[test]
    fn several_processes_are_refused_with_the_way_to_start_one() {
        launch(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap().single().unwrap();
        let error = launch(&[("RANK", "1"), ("WORLD_SIZE", "2")]).unwrap().single().unwrap_err();
        assert_eq!(code(&error), Exit::Config);
        assert!(error.to_string().contains("--nproc-per-node=1"), "{error}");
    }

    #[test]
    fn torchrun_finds_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("error.json");
        write_error(&path, "no \"space\"").unwrap();
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(file["message"]["message"], "no \"space\"");
        assert!(file["message"]["extraInfo"]["timestamp"].as_str().unwrap().parse::<u64>().is_ok());
        assert_eq!(file["message"]["extraInfo"]["py_callstack"], "no \"space\"");
    }
}
