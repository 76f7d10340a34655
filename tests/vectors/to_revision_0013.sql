-- Brings a current database back to the schema of revision 0013.
ALTER TABLE enrolments DROP COLUMN owner;
DROP TABLE direct_uploads;
DROP TABLE upload_segments;
DROP TABLE removed_blobs;
ALTER TABLE uploads DROP COLUMN turn;
DROP INDEX ix_artifacts_blob;
ALTER TABLE artifacts DROP COLUMN blob;
DROP INDEX ix_miner_commands_waiting;
ALTER TABLE miner_commands DROP COLUMN settings;
ALTER TABLE miner_commands DROP COLUMN given_by;
ALTER TABLE miner_commands DROP COLUMN executed_at;
ALTER TABLE miner_commands DROP COLUMN refusal;
DROP INDEX ix_jobs_leased_by;
CREATE INDEX ix_jobs_leased_by ON jobs (lease_miner_id) WHERE lease_miner_id IS NOT NULL;
CREATE TABLE balances_whole (
  ledger_account VARCHAR(80) NOT NULL,
  amount BIGINT NOT NULL,
  CONSTRAINT pk_balances PRIMARY KEY (ledger_account),
  CONSTRAINT ck_balances_bounds CHECK (amount BETWEEN -9000000000000000000 AND 9000000000000000000)
);
INSERT INTO balances_whole SELECT ledger_account, SUM(amount) FROM balances GROUP BY ledger_account;
DROP TABLE balances;
ALTER TABLE balances_whole RENAME TO balances;
DROP TABLE job_logs;
DROP TABLE job_labels;
DROP INDEX ix_jobs_account;
DROP INDEX ix_jobs_account_state;
DROP INDEX ix_jobs_account_service;
DROP INDEX ix_jobs_account_name;
DROP INDEX ix_jobs_service;
DROP INDEX ix_jobs_ended_by_account;
DROP INDEX ix_jobs_ended_by_service;
DROP INDEX ix_jobs_ended_by_state;
DROP INDEX ix_jobs_miner;
DROP INDEX ix_jobs_offer;
ALTER TABLE jobs DROP COLUMN name_given;
ALTER TABLE jobs DROP COLUMN labels;
ALTER TABLE jobs DROP COLUMN deleted_at;
ALTER TABLE artifact_owners DROP COLUMN file_name;
ALTER TABLE job_artifacts DROP COLUMN file_name;
CREATE INDEX ix_jobs_account ON jobs (account_id, job_id);
CREATE INDEX ix_jobs_account_state ON jobs (account_id, state, job_id);
CREATE INDEX ix_jobs_account_service ON jobs (account_id, service, job_id);
CREATE INDEX ix_jobs_service ON jobs (service, job_id);
CREATE INDEX ix_jobs_ended_by_account ON jobs (account_id, service, state, job_id) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_jobs_ended_by_service ON jobs (service, state, job_id) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_jobs_ended_by_state ON jobs (state, job_id) WHERE finished_at IS NOT NULL;
DROP TABLE run_outputs;
DROP TABLE browser_session_keys;
DROP TABLE browser_sessions;
ALTER TABLE miner_commands RENAME TO miner_orders;
ALTER TABLE miner_orders RENAME COLUMN command_id TO order_id;
DROP INDEX ix_miner_commands_miner;
UPDATE miners SET capabilities = replace(capabilities, '"unavailable_models"', '"withheld"');
DROP INDEX ix_jobs_not_notified;
ALTER TABLE jobs DROP COLUMN needs;
ALTER TABLE jobs DROP COLUMN notified_at;
DROP TABLE history;
DROP INDEX ix_miners_enrolment;
DROP INDEX ix_runs_faults;
ALTER TABLE enrolments DROP COLUMN uses;
ALTER TABLE enrolments DROP COLUMN note;
ALTER TABLE enrolments DROP COLUMN created_by;
ALTER TABLE enrolments DROP COLUMN used_at;
ALTER TABLE enrolments DROP COLUMN revoked_at;
ALTER TABLE miners DROP COLUMN removed_at;
ALTER TABLE miners DROP COLUMN enrolment_id;
UPDATE alembic_version SET version_num = '0013';
