#!/bin/sh
# Slurm's TaskProlog: gives each task of a job the job's run, so that whatever starts a run in it (a client, or
# `lezea-monitor run`) joins the others on the node. Runs as the job's user; what it prints as `export NAME=value` becomes
# the task's environment. A job that is requeued keeps its number: that is the run's next attempt.
#
# A LEZEA_RUN_ID that the user chose stays. One that this script gave to another job came along with sbatch's environment.
case ${SLURM_JOB_ID:-} in
  '' | *[!0-9]*) exit 0 ;;
esac
case ${LEZEA_RUN_ID:-} in
  '' | slurm-*) echo "export LEZEA_RUN_ID=slurm-$SLURM_JOB_ID" ;;
esac
exit 0
