BEGIN TRANSACTION;
CREATE TABLE accounts (
	account_id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_accounts PRIMARY KEY (account_id)
);
INSERT INTO "accounts" VALUES('account_06h2vfklredaq5picklb2g80f8','tester',1.79609734908387637e+09);
INSERT INTO "accounts" VALUES('account_06h2vfkmtfal6i4bafq97ng348','somebody else',1.79609734935589718e+09);
INSERT INTO "accounts" VALUES('account_audits','audits',1.79609735275035572e+09);
INSERT INTO "accounts" VALUES('account_verdicts','verdicts of audits',1.79609735275035572e+09);
INSERT INTO "accounts" VALUES('account_payouts','payouts',1.79609735889455533e+09);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0030');
CREATE TABLE api_keys (
	key_id VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	account_id VARCHAR(64), 
	miner_id VARCHAR(64), 
	name TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	CONSTRAINT pk_api_keys PRIMARY KEY (key_id), 
	CONSTRAINT uq_api_keys_sha256 UNIQUE (sha256), 
	CONSTRAINT fk_api_keys_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "api_keys" VALUES('key_06h2vfkmcj05ek31ugfnt6khq0','020d03937f639197ac7ff83b606f365ef96c6da4a4692175d88b741c9acccbcc','client','account_06h2vfklredaq5picklb2g80f8',NULL,'tester',1.79609734922081303e+09,NULL);
INSERT INTO "api_keys" VALUES('key_06h2vfkmvmsq9ss0fnosgdur0o','76a2c8ec61d2baa9cf650c9819159bb477f75f5c0966eceb94f605a50a094961','client','account_06h2vfkmtfal6i4bafq97ng348',NULL,'somebody else',1.79609734937378525e+09,NULL);
INSERT INTO "api_keys" VALUES('key_06h2vfkn20gjc52q3f4a71v4is','b06431739403b747a597a7cf374fa17b3681f8535d93d127118a5d1d18943e1f','admin',NULL,NULL,'admin',1.79609734939217805e+09,NULL);
INSERT INTO "api_keys" VALUES('key_06h2vfkrvoj1l3ac67bc2h9478','1b897f5354273e69b41b8014a96a787161b00eaa5c9b322cb0d05c72299a56f6','miner',NULL,'miner_3trb3cmjjx3navrd6v2rbc7nvb','owner of scripted',1.79609735065416908e+09,NULL);
INSERT INTO "api_keys" VALUES('key_06h2vfku5928tfe3csafmo1eg8','43c64fe1c2829bc3cf6bce82fcb4aa05fb8b427251fcb58fe5a03daca6e67d22','miner',NULL,'miner_s4gp6a5hihf5ckm3ji25chrg7c','owner of scripted',1.79609735121031379e+09,NULL);
CREATE TABLE artifact_owners (
	artifact_id VARCHAR(80) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	media_type TEXT NOT NULL, 
	file_name VARCHAR(255), 
	CONSTRAINT pk_artifact_owners PRIMARY KEY (artifact_id, owner), 
	CONSTRAINT fk_artifact_owners_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id)
);
CREATE TABLE artifacts (
	artifact_id VARCHAR(80) NOT NULL, 
	size BIGINT NOT NULL, 
	created_at FLOAT NOT NULL, 
	blob VARCHAR(200), 
	CONSTRAINT pk_artifacts PRIMARY KEY (artifact_id)
);
CREATE TABLE audit_proofs (
	miner_id VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	service VARCHAR(64) NOT NULL, 
	model TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	passes INTEGER NOT NULL, 
	checked INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	canaries_checked INTEGER NOT NULL, 
	canaries_failed INTEGER NOT NULL, 
	CONSTRAINT pk_audit_proofs PRIMARY KEY (miner_id, role, service, model)
);
INSERT INTO "audit_proofs" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb','miner','whisper_transcription','base','scripted 1',1,1,0,0,0);
CREATE TABLE audits (
	audit_id VARCHAR(64) NOT NULL, 
	root VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	fence INTEGER NOT NULL, 
	service VARCHAR(64) NOT NULL, 
	model TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	evidence TEXT, 
	canary_id VARCHAR(64), 
	audit_job_id VARCHAR(64), 
	asked INTEGER DEFAULT '0' NOT NULL, 
	auditor_id VARCHAR(64), 
	opinion VARCHAR(16), 
	verdict VARCHAR(16), 
	distances TEXT DEFAULT '{}' NOT NULL, 
	limits TEXT DEFAULT '{}' NOT NULL, 
	position TEXT DEFAULT '' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	salt VARCHAR(32) DEFAULT '' NOT NULL, 
	created_at FLOAT NOT NULL, 
	decided_at FLOAT, 
	settled_at FLOAT, 
	probability FLOAT, 
	enforced INTEGER DEFAULT '0' NOT NULL, 
	forfeited BIGINT DEFAULT '0' NOT NULL, 
	charged BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_audits PRIMARY KEY (audit_id), 
	CONSTRAINT fk_audits_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "audits" VALUES('audit_06h2vfl23oj7fkfels92mb6e8k','audit_06h2vfl23oj7fkfels92mb6e8k','check','job_06h2vfkvcgqj1kj87f8frjktd8','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb',1,'whisper_transcription','base','scripted 1','decided',NULL,NULL,'job_06h2vfl3kvbn9tg0it1177n35g',1,'miner_s4gp6a5hihf5ckm3ji25chrg7c','pass','pass','{"word_errors":0.5}','{"word_errors":0.1}','word 1','It differs.','f088b8fa9d1c48af5522b2157df3ebab',1.7960973522223103e+09,1.79609735340304875e+09,1.79609735363047242e+09,NULL,0,0,0);
INSERT INTO "audits" VALUES('audit_06h2vflb8e6gn81bgnbs7eek04','audit_06h2vflb8e6gn81bgnbs7eek04','check','job_06h2vfl927hs9jkc14r9p08fes','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb',1,'whisper_transcription','base','scripted 1','running',NULL,NULL,'job_06h2vflclhqm4cvlsaq5vhcvsg',1,NULL,NULL,NULL,'{}','{}','','','',1.79609735456392693e+09,NULL,NULL,NULL,0,0,0);
CREATE TABLE balances (
	ledger_account VARCHAR(80) NOT NULL, 
	part BIGINT DEFAULT '0' NOT NULL, 
	amount BIGINT NOT NULL, 
	CONSTRAINT pk_balances PRIMARY KEY (ledger_account, part), 
	CONSTRAINT ck_balances_bounds CHECK (amount BETWEEN -9000000000000000000 AND 9000000000000000000)
);
INSERT INTO "balances" VALUES('available:account_06h2vfklredaq5picklb2g80f8',0,99999789800000);
INSERT INTO "balances" VALUES('issued',0,-200000039070000);
INSERT INTO "balances" VALUES('available:account_06h2vfkmtfal6i4bafq97ng348',0,100000000000000);
INSERT INTO "balances" VALUES('escrow:account_06h2vfklredaq5picklb2g80f8',0,200000000);
INSERT INTO "balances" VALUES('earned:miner_3trb3cmjjx3navrd6v2rbc7nvb',0,0);
INSERT INTO "balances" VALUES('fees',0,0);
INSERT INTO "balances" VALUES('available:account_audits',0,0);
INSERT INTO "balances" VALUES('escrow:account_audits',0,40000000);
INSERT INTO "balances" VALUES('earned:miner_s4gp6a5hihf5ckm3ji25chrg7c',0,90000);
INSERT INTO "balances" VALUES('payout:batch_06h2vflsnokjsaaubk23ioebm0',0,9180000);
CREATE TABLE browser_session_keys (
	session_id VARCHAR(64) NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	own BOOLEAN NOT NULL, 
	CONSTRAINT pk_browser_session_keys PRIMARY KEY (session_id, key_id), 
	CONSTRAINT fk_browser_session_keys_session_id FOREIGN KEY(session_id) REFERENCES browser_sessions (session_id), 
	CONSTRAINT fk_browser_session_keys_key_id FOREIGN KEY(key_id) REFERENCES api_keys (key_id)
);
CREATE TABLE browser_sessions (
	session_id VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	CONSTRAINT pk_browser_sessions PRIMARY KEY (session_id), 
	CONSTRAINT uq_browser_sessions_sha256 UNIQUE (sha256)
);
CREATE TABLE canaries (
	canary_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	spec TEXT NOT NULL, 
	results TEXT NOT NULL, 
	note TEXT NOT NULL, 
	submitted INTEGER DEFAULT '0' NOT NULL, 
	created_at FLOAT NOT NULL, 
	due_at FLOAT, 
	deleted_at FLOAT, 
	CONSTRAINT pk_canaries PRIMARY KEY (canary_id), 
	CONSTRAINT fk_canaries_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id), 
	CONSTRAINT fk_canaries_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
CREATE TABLE challenges (
	nonce VARCHAR(64) NOT NULL, 
	expires_at FLOAT NOT NULL, 
	CONSTRAINT pk_challenges PRIMARY KEY (nonce)
);
CREATE TABLE client_evidence (
	miner_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	good FLOAT NOT NULL, 
	bad FLOAT NOT NULL, 
	evidence_at FLOAT NOT NULL, 
	CONSTRAINT pk_client_evidence PRIMARY KEY (miner_id, account_id), 
	CONSTRAINT fk_client_evidence_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id), 
	CONSTRAINT fk_client_evidence_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "client_evidence" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb','account_06h2vfklredaq5picklb2g80f8',1.9499994051195082e+00,0.0,1.79609735456392693e+09);
INSERT INTO "client_evidence" VALUES('miner_s4gp6a5hihf5ckm3ji25chrg7c','account_audits',1.0,0.0,1.79609735317554426e+09);
CREATE TABLE client_failures (
	account_id VARCHAR(64) NOT NULL, 
	count FLOAT NOT NULL, 
	counted_at FLOAT NOT NULL, 
	CONSTRAINT pk_client_failures PRIMARY KEY (account_id), 
	CONSTRAINT fk_client_failures_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "client_failures" VALUES('account_06h2vfklredaq5picklb2g80f8',1.0,1.79609735619410896e+09);
CREATE TABLE deposits (
	source VARCHAR(32) NOT NULL, 
	external_id VARCHAR(200) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	tx_id VARCHAR(64) NOT NULL, 
	amount BIGINT NOT NULL, 
	currency VARCHAR(16) NOT NULL, 
	external_amount VARCHAR(64) NOT NULL, 
	rate VARCHAR(64) NOT NULL, 
	note TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_deposits PRIMARY KEY (source, external_id), 
	CONSTRAINT fk_deposits_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id), 
	CONSTRAINT fk_deposits_tx_id FOREIGN KEY(tx_id) REFERENCES transactions (tx_id)
);
CREATE TABLE direct_uploads (
	upload_id VARCHAR(64) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64), 
	fence INTEGER, 
	size BIGINT NOT NULL, 
	sha256 VARCHAR(64), 
	media_type TEXT NOT NULL, 
	file_name VARCHAR(255), 
	blob VARCHAR(200) NOT NULL, 
	multipart_id TEXT, 
	part_size BIGINT NOT NULL, 
	etags TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	checked_until FLOAT, 
	expires_at FLOAT NOT NULL, 
	CONSTRAINT pk_direct_uploads PRIMARY KEY (upload_id)
);
CREATE TABLE durations (
	service VARCHAR(64) NOT NULL, 
	model VARCHAR(128) NOT NULL, 
	count BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	CONSTRAINT pk_durations PRIMARY KEY (service, model)
);
INSERT INTO "durations" VALUES('whisper_transcription','base',2,2.80269503593444824e-01);
CREATE TABLE enrolments (
	enrolment_id VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	uses_left INTEGER NOT NULL, 
	uses INTEGER DEFAULT '1' NOT NULL, 
	note TEXT DEFAULT '' NOT NULL, 
	owner VARCHAR(100), 
	created_by VARCHAR(64), 
	used_at FLOAT, 
	revoked_at FLOAT, 
	CONSTRAINT pk_enrolments PRIMARY KEY (enrolment_id), 
	CONSTRAINT uq_enrolments_sha256 UNIQUE (sha256)
);
CREATE TABLE events (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	type VARCHAR(32) NOT NULL, 
	account_id VARCHAR(64), 
	miner_id VARCHAR(64), 
	job_id VARCHAR(64), 
	data TEXT NOT NULL, 
	created_at FLOAT NOT NULL
);
INSERT INTO "events" VALUES(1,'mark','',NULL,NULL,'{}',1.79609734569089245e+09);
INSERT INTO "events" VALUES(2,'marketplace_update','account_06h2vfklredaq5picklb2g80f8',NULL,NULL,'{"kind":"transaction","transaction_id":"tx_06h2vfkm3f6renfc14k8af4ak8","status":"settled","amount":"1000000","timestamp":"2026-12-01T03:55:49.147Z"}',1.79609734914788079e+09);
INSERT INTO "events" VALUES(3,'marketplace_update','account_06h2vfkmtfal6i4bafq97ng348',NULL,NULL,'{"kind":"transaction","transaction_id":"tx_06h2vfkmtportojab5omdfsa5s","status":"settled","amount":"1000000","timestamp":"2026-12-01T03:55:49.358Z"}',1.79609734935849881e+09);
INSERT INTO "events" VALUES(4,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrh5s5linnjs0pmhajo4","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"ai_inference","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(5,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvl8eoe8occpvvrt1ks","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"blender_rendering","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(6,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvm0ke0fto5al6rifvc","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"image_generation","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(7,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvmdbg6uf8b5me4m320","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"llm_inference","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(8,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvmoijnep0kl2ib8rk0","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"text_embedding","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(9,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvn3kqurhgaegqncp9k","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"video_transcoding","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(10,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfkrvne25dmo4n6ud7g32k","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"whisper_transcription","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:50.537Z"}',1.79609735053747367e+09);
INSERT INTO "events" VALUES(11,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku29crl5qadrnbloqd18","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"ai_inference","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(12,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2ad6qfane5vus92amg","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"blender_rendering","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(13,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2b71bacafo8s4maigo","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"image_generation","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(14,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2bjomf66piimtlct7c","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"llm_inference","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(15,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2c2145tpgnmqervif4","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"text_embedding","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(16,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2ccee28s2rsb7fcvr4","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"video_transcoding","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(17,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfku2cmf7sj4to1op4jmgg","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","job_type":"whisper_transcription","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:51.186Z"}',1.79609735118635296e+09);
INSERT INTO "events" VALUES(18,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vfkvcgqj1kj87f8frjktd8','{"job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","status":"submitted","timestamp":"2026-12-01T03:55:51.524Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735152438712e+09);
INSERT INTO "events" VALUES(19,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8','{"job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","status":"running","timestamp":"2026-12-01T03:55:51.836Z","type":"whisper_transcription","progress":0,"attempts":1,"started_at":"2026-12-01T03:55:51.836Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb"}',1.79609735183662319e+09);
INSERT INTO "events" VALUES(20,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8','{"job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","status":"completed","timestamp":"2026-12-01T03:55:52.222Z","type":"whisper_transcription","progress":100,"attempts":1,"started_at":"2026-12-01T03:55:51.836Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","cost":"0.002"}',1.7960973522223103e+09);
INSERT INTO "events" VALUES(21,'marketplace_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8','{"kind":"transaction","transaction_id":"tx_06h2vfkvcgqj1kj87f8frjktd8","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","status":"settled","amount":"0.002","timestamp":"2026-12-01T03:55:52.222Z"}',1.7960973522223103e+09);
INSERT INTO "events" VALUES(22,'receipt_created','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8','{"receipt_id":"receipt_06h2vfkvcgqj1kj87f8frjktd8","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","timestamp":"2026-12-01T03:55:52.222Z"}',1.7960973522223103e+09);
INSERT INTO "events" VALUES(23,'job_update','account_audits',NULL,'job_06h2vfl3kvbn9tg0it1177n35g','{"job_id":"job_06h2vfl3kvbn9tg0it1177n35g","status":"submitted","timestamp":"2026-12-01T03:55:52.970Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735297044181e+09);
INSERT INTO "events" VALUES(24,'job_update','account_audits','miner_s4gp6a5hihf5ckm3ji25chrg7c','job_06h2vfl3kvbn9tg0it1177n35g','{"job_id":"job_06h2vfl3kvbn9tg0it1177n35g","status":"running","timestamp":"2026-12-01T03:55:53.112Z","type":"whisper_transcription","progress":0,"attempts":1,"started_at":"2026-12-01T03:55:53.112Z","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c"}',1.79609735311252117e+09);
INSERT INTO "events" VALUES(25,'job_update','account_audits','miner_s4gp6a5hihf5ckm3ji25chrg7c','job_06h2vfl3kvbn9tg0it1177n35g','{"job_id":"job_06h2vfl3kvbn9tg0it1177n35g","status":"completed","timestamp":"2026-12-01T03:55:53.175Z","type":"whisper_transcription","progress":100,"attempts":1,"started_at":"2026-12-01T03:55:53.112Z","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","cost":"0.001"}',1.79609735317554426e+09);
INSERT INTO "events" VALUES(26,'marketplace_update','account_audits','miner_s4gp6a5hihf5ckm3ji25chrg7c','job_06h2vfl3kvbn9tg0it1177n35g','{"kind":"transaction","transaction_id":"tx_06h2vfl3kvbn9tg0it1177n35g","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","status":"settled","amount":"0.001","timestamp":"2026-12-01T03:55:53.175Z"}',1.79609735317554426e+09);
INSERT INTO "events" VALUES(27,'receipt_created','account_audits','miner_s4gp6a5hihf5ckm3ji25chrg7c','job_06h2vfl3kvbn9tg0it1177n35g','{"receipt_id":"receipt_06h2vfl3kvbn9tg0it1177n35g","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","timestamp":"2026-12-01T03:55:53.175Z"}',1.79609735317554426e+09);
INSERT INTO "events" VALUES(28,'marketplace_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8','{"kind":"audit","audit_id":"audit_06h2vfl23oj7fkfels92mb6e8k","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","status":"decided","verdict":"pass","timestamp":"2026-12-01T03:55:53.403Z"}',1.79609735340304875e+09);
INSERT INTO "events" VALUES(29,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vfl927hs9jkc14r9p08fes','{"job_id":"job_06h2vfl927hs9jkc14r9p08fes","status":"submitted","timestamp":"2026-12-01T03:55:54.002Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735400203299e+09);
INSERT INTO "events" VALUES(30,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfl927hs9jkc14r9p08fes','{"job_id":"job_06h2vfl927hs9jkc14r9p08fes","status":"running","timestamp":"2026-12-01T03:55:54.389Z","type":"whisper_transcription","progress":0,"attempts":1,"started_at":"2026-12-01T03:55:54.389Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb"}',1.79609735438907504e+09);
INSERT INTO "events" VALUES(31,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfl927hs9jkc14r9p08fes','{"job_id":"job_06h2vfl927hs9jkc14r9p08fes","status":"completed","timestamp":"2026-12-01T03:55:54.563Z","type":"whisper_transcription","progress":100,"attempts":1,"started_at":"2026-12-01T03:55:54.389Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","cost":"0.1"}',1.79609735456392693e+09);
INSERT INTO "events" VALUES(32,'marketplace_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfl927hs9jkc14r9p08fes','{"kind":"transaction","transaction_id":"tx_06h2vfl927hs9jkc14r9p08fes","job_id":"job_06h2vfl927hs9jkc14r9p08fes","status":"settled","amount":"0.1","timestamp":"2026-12-01T03:55:54.563Z"}',1.79609735456392693e+09);
INSERT INTO "events" VALUES(33,'receipt_created','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfl927hs9jkc14r9p08fes','{"receipt_id":"receipt_06h2vfl927hs9jkc14r9p08fes","job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","timestamp":"2026-12-01T03:55:54.563Z"}',1.79609735456392693e+09);
INSERT INTO "events" VALUES(34,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflcahimahvqdn3t4s999c','{"job_id":"job_06h2vflcahimahvqdn3t4s999c","status":"submitted","timestamp":"2026-12-01T03:55:54.836Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735483654165e+09);
INSERT INTO "events" VALUES(35,'job_update','account_audits',NULL,'job_06h2vflclhqm4cvlsaq5vhcvsg','{"job_id":"job_06h2vflclhqm4cvlsaq5vhcvsg","status":"submitted","timestamp":"2026-12-01T03:55:55.472Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735547285127e+09);
INSERT INTO "events" VALUES(36,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vflcahimahvqdn3t4s999c','{"job_id":"job_06h2vflcahimahvqdn3t4s999c","status":"running","timestamp":"2026-12-01T03:55:55.925Z","type":"whisper_transcription","progress":0,"attempts":1,"started_at":"2026-12-01T03:55:55.925Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb"}',1.79609735592520618e+09);
INSERT INTO "events" VALUES(37,'job_update','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vflcahimahvqdn3t4s999c','{"job_id":"job_06h2vflcahimahvqdn3t4s999c","status":"failed","timestamp":"2026-12-01T03:55:56.194Z","type":"whisper_transcription","progress":0,"attempts":1,"started_at":"2026-12-01T03:55:55.925Z","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","cost":"0","error":{"code":"INPUT_INVALID","message":"no audio"}}',1.79609735619410896e+09);
INSERT INTO "events" VALUES(38,'marketplace_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflcahimahvqdn3t4s999c','{"kind":"transaction","transaction_id":"tx_06h2vflcahimahvqdn3t4s999c","job_id":"job_06h2vflcahimahvqdn3t4s999c","status":"refunded","amount":"0","timestamp":"2026-12-01T03:55:56.194Z"}',1.79609735619410896e+09);
INSERT INTO "events" VALUES(39,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflip67abdv776grjjb734','{"job_id":"job_06h2vflip67abdv776grjjb734","status":"submitted","timestamp":"2026-12-01T03:55:56.489Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735648972702e+09);
INSERT INTO "events" VALUES(40,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflip67abdv776grjjb734','{"job_id":"job_06h2vflip67abdv776grjjb734","status":"cancelled","timestamp":"2026-12-01T03:55:56.596Z","type":"whisper_transcription","progress":0,"attempts":0,"cost":"0"}',1.79609735659600782e+09);
INSERT INTO "events" VALUES(41,'marketplace_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflip67abdv776grjjb734','{"kind":"transaction","transaction_id":"tx_06h2vflip67abdv776grjjb734","job_id":"job_06h2vflip67abdv776grjjb734","status":"refunded","amount":"0","timestamp":"2026-12-01T03:55:56.596Z"}',1.79609735659600782e+09);
INSERT INTO "events" VALUES(42,'marketplace_update',NULL,NULL,NULL,'{"kind":"offer","offer_id":"offer_06h2vfllnnqj0tffferedup51o","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","job_type":"image-classification","price":"0.001","status":"active","timestamp":"2026-12-01T03:55:57.245Z"}',1.7960973572459774e+09);
INSERT INTO "events" VALUES(43,'payout_update','','miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,'{"kind":"address","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","status":"changed","adapter":"file","effective_at":"2026-12-01T03:55:57.467Z","timestamp":"2026-12-01T03:55:57.467Z"}',1.79609735746763157e+09);
INSERT INTO "events" VALUES(44,'payout_update','','miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,'{"kind":"payment","payout_id":"payout_06h2vfls5q5ct7i48tisrr0v3c","batch_id":"batch_06h2vflsnokjsaaubk23ioebm0","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","status":"created","amount":"0.0918","timestamp":"2026-12-01T03:55:58.894Z"}',1.79609735889455533e+09);
INSERT INTO "events" VALUES(45,'payout_update','','miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,'{"kind":"payment","payout_id":"payout_06h2vfls5q5ct7i48tisrr0v3c","batch_id":"batch_06h2vflsnokjsaaubk23ioebm0","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","status":"approved","amount":"0.0918","timestamp":"2026-12-01T03:55:59.453Z"}',1.79609735945321774e+09);
INSERT INTO "events" VALUES(46,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflvebhksomlbkmg4p5920','{"job_id":"job_06h2vflvebhksomlbkmg4p5920","status":"submitted","timestamp":"2026-12-01T03:55:59.731Z","type":"whisper_transcription","progress":0,"attempts":0}',1.79609735973106312e+09);
INSERT INTO "events" VALUES(47,'job_update','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vfm13pegsqp1r9b1gvl3gk','{"job_id":"job_06h2vfm13pegsqp1r9b1gvl3gk","status":"submitted","timestamp":"2026-12-01T03:56:00.158Z","type":"whisper_transcription","progress":0,"attempts":0}',1.7960973601585009e+09);
CREATE TABLE gone_webhooks (
	account_id VARCHAR(64) NOT NULL, 
	url_sha256 VARCHAR(64) NOT NULL, 
	gone_at FLOAT NOT NULL, 
	CONSTRAINT pk_gone_webhooks PRIMARY KEY (account_id, url_sha256), 
	CONSTRAINT fk_gone_webhooks_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
CREATE TABLE history (
	start BIGINT NOT NULL, 
	part INTEGER DEFAULT '0' NOT NULL, 
	submitted BIGINT DEFAULT '0' NOT NULL, 
	completed BIGINT DEFAULT '0' NOT NULL, 
	failed BIGINT DEFAULT '0' NOT NULL, 
	cancelled BIGINT DEFAULT '0' NOT NULL, 
	credited BIGINT DEFAULT '0' NOT NULL, 
	debited BIGINT DEFAULT '0' NOT NULL, 
	paid BIGINT DEFAULT '0' NOT NULL, 
	fees BIGINT DEFAULT '0' NOT NULL, 
	waiting INTEGER, 
	running INTEGER, 
	online INTEGER, 
	CONSTRAINT pk_history PRIMARY KEY (start, part)
);
INSERT INTO "history" VALUES(1796097300,0,8,3,1,1,200000000000000,0,10300000,1030000,NULL,NULL,NULL);
CREATE TABLE idempotency (
	account_id VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	request_sha256 VARCHAR(64) NOT NULL, 
	answer TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (account_id, "key"), 
	CONSTRAINT fk_idempotency_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
CREATE TABLE job_artifacts (
	job_id VARCHAR(64) NOT NULL, 
	artifact_id VARCHAR(80) NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	media_type TEXT NOT NULL, 
	file_name VARCHAR(255), 
	CONSTRAINT pk_job_artifacts PRIMARY KEY (job_id, artifact_id, direction, name), 
	CONSTRAINT fk_job_artifacts_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id), 
	CONSTRAINT fk_job_artifacts_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id)
);
CREATE TABLE job_checkpoints (
	job_id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	artifact_id VARCHAR(80) NOT NULL, 
	media_type TEXT NOT NULL, 
	extra TEXT NOT NULL, 
	CONSTRAINT pk_job_checkpoints PRIMARY KEY (job_id, name), 
	CONSTRAINT fk_job_checkpoints_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id), 
	CONSTRAINT fk_job_checkpoints_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id)
);
CREATE TABLE job_counts (
	account_id VARCHAR(64) NOT NULL, 
	service VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	count BIGINT NOT NULL, 
	CONSTRAINT pk_job_counts PRIMARY KEY (account_id, service, state), 
	CONSTRAINT fk_job_counts_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "job_counts" VALUES('account_06h2vfklredaq5picklb2g80f8','whisper_transcription','submitted',2);
INSERT INTO "job_counts" VALUES('account_06h2vfklredaq5picklb2g80f8','whisper_transcription','running',0);
INSERT INTO "job_counts" VALUES('account_06h2vfklredaq5picklb2g80f8','whisper_transcription','completed',2);
INSERT INTO "job_counts" VALUES('account_audits','whisper_transcription','submitted',1);
INSERT INTO "job_counts" VALUES('account_audits','whisper_transcription','running',0);
INSERT INTO "job_counts" VALUES('account_audits','whisper_transcription','completed',0);
INSERT INTO "job_counts" VALUES('account_audits','whisper_transcription','~completed',1);
INSERT INTO "job_counts" VALUES('account_06h2vfklredaq5picklb2g80f8','whisper_transcription','failed',1);
INSERT INTO "job_counts" VALUES('account_06h2vfklredaq5picklb2g80f8','whisper_transcription','cancelled',1);
CREATE TABLE job_labels (
	job_id VARCHAR(64) NOT NULL, 
	"key" VARCHAR(63) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_job_labels PRIMARY KEY (job_id, "key"), 
	CONSTRAINT fk_job_labels_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "job_labels" VALUES('job_06h2vfl927hs9jkc14r9p08fes','project','podcast','account_06h2vfklredaq5picklb2g80f8');
INSERT INTO "job_labels" VALUES('job_06h2vflcahimahvqdn3t4s999c','project','podcast','account_06h2vfklredaq5picklb2g80f8');
INSERT INTO "job_labels" VALUES('job_06h2vflvebhksomlbkmg4p5920','project','later','account_06h2vfklredaq5picklb2g80f8');
CREATE TABLE job_logs (
	job_id VARCHAR(64) NOT NULL, 
	fence INTEGER NOT NULL, 
	part INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	entries TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	truncated INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_job_logs PRIMARY KEY (job_id, fence, part), 
	CONSTRAINT fk_job_logs_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "job_logs" VALUES('job_06h2vfl927hs9jkc14r9p08fes',1,1,1,'[[1796097354.465689,"stdout","hello from 0.2.0"]]',48,0,1.79609735456392693e+09);
CREATE TABLE jobs (
	job_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	service VARCHAR(64) NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	name_given INTEGER DEFAULT '1' NOT NULL, 
	labels TEXT, 
	model TEXT, 
	spec TEXT NOT NULL, 
	spec_digest VARCHAR(64) NOT NULL, 
	cpu_millis INTEGER NOT NULL, 
	memory BIGINT NOT NULL, 
	gpus INTEGER NOT NULL, 
	priority INTEGER NOT NULL, 
	max_cost BIGINT NOT NULL, 
	fee_ppm INTEGER NOT NULL, 
	requested_miner_id VARCHAR(64), 
	offer_id VARCHAR(64), 
	agreed_price BIGINT, 
	missing_files TEXT, 
	webhook_url TEXT, 
	client_trace_id VARCHAR(32), 
	created_at FLOAT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	timeout_seconds FLOAT NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	miner_id VARCHAR(64), 
	lease_session INTEGER, 
	lease_assigned_at FLOAT, 
	lease_expires_at FLOAT, 
	lease_deadline FLOAT, 
	lease_miner_id VARCHAR(64), 
	unit_price BIGINT, 
	started_at FLOAT, 
	finished_at FLOAT, 
	progress FLOAT NOT NULL, 
	units TEXT NOT NULL, 
	cost BIGINT, 
	failure_code VARCHAR(64), 
	failure_message TEXT, 
	avoid_miner_id VARCHAR(64), 
	avoid_until FLOAT, 
	deleted_at FLOAT, 
	needs TEXT, 
	restrictions TEXT, 
	audit_hold BIGINT, 
	notified_at FLOAT, 
	CONSTRAINT pk_jobs PRIMARY KEY (job_id), 
	CONSTRAINT fk_jobs_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "jobs" VALUES('job_06h2vfkvcgqj1kj87f8frjktd8','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','a.mp3',0,NULL,'base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","model":"base","name":"whisper-transcription","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','ff6e0e8f4b3a2fa905d97e6339192858683fe495a48b8503e8f96e151108db7e',0,0,0,0,100000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735152438712e+09,'completed',3600.0,3,1,1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,NULL,NULL,NULL,NULL,100000,1.79609735183662319e+09,1.7960973522223103e+09,100.0,'2',200000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vfl3kvbn9tg0it1177n35g','account_audits','whisper_transcription','whisper_transcription','',0,NULL,'base','{}','15980b705c1fdb29affadd0ac5bfeb3b06ffd43490e236997bfd6803c75505b6',0,0,0,0,1000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735297044181e+09,'completed',3600.0,3,1,1,'miner_s4gp6a5hihf5ckm3ji25chrg7c',NULL,NULL,NULL,NULL,NULL,100000,1.79609735311252117e+09,1.79609735317554426e+09,100.0,'1',100000,NULL,NULL,NULL,NULL,1.79609735363047242e+09,NULL,'{"audit":true,"excluded":["miner_3trb3cmjjx3navrd6v2rbc7nvb"]}',NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vfl927hs9jkc14r9p08fes','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','Episode 7',1,'{"project": "podcast"}','base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vfl927hs9jkc14r9p08fes","model":"base","name":"Episode 7","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','a6d2ef03053fe190eb72221e5efdb9b41956c7116c7c30f9bc6d71f4ddb91081',0,0,0,0,100000000,100000,NULL,NULL,NULL,NULL,'https://example.com/hook',NULL,1.79609735400203299e+09,'completed',3600.0,3,1,1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,NULL,NULL,NULL,NULL,100000,1.79609735438907504e+09,1.79609735456392693e+09,100.0,'100',10000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vflcahimahvqdn3t4s999c','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','a.mp3',0,'{"project": "podcast"}','base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vflcahimahvqdn3t4s999c","model":"base","name":"whisper-transcription","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','02d59078ced844b2755906648845caad26fdd0dfa0934d753f0189231e9a5395',0,0,0,0,100000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735483654165e+09,'failed',3600.0,3,1,1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,NULL,NULL,NULL,NULL,100000,1.79609735592520618e+09,1.79609735619410896e+09,0.0,'0',0,'INPUT_INVALID','no audio',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vflclhqm4cvlsaq5vhcvsg','account_audits','whisper_transcription','whisper_transcription','audit',1,NULL,'base','{"audit":{"answer":null,"evidence":null,"nonce":"7188649e57300e80c0f907181a16ec8d6520c748d2f600418fa7ce850e0faec6","results":{"duration":2,"language":"en","processing_time":1,"segments":[],"text":"Episode","units":100},"statement":{"_type":"https://in-toto.io/Statement/v1","predicate":{"device":{"kind":"cuda","name":"Test GPU","uuid":"GPU-1"},"fence":"1","finished_at":"2026-12-01T03:55:54.389Z","inputs":[{"digest":{"sha256":"f0494a592230c98995ac065a56487c56005df8a5a33641a3e4b2861c8613b8a6"},"name":"audio_url"}],"job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","model":{"digest":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000"},"name":"base"},"origin":"aitbc.local/9de2fc000821f29e","price":"0.1","runner":{"name":"scripted","version":"1"},"service":"whisper_transcription","spec_digest":"a6d2ef03053fe190eb72221e5efdb9b41956c7116c7c30f9bc6d71f4ddb91081","started_at":"2026-12-01T03:55:54.389Z","unit":"audio second","unit_price":"0.001","units":"100"},"predicateType":"https://aitbc.bubuit.net/job-receipt/v1","subject":[{"digest":{"sha256":"734d2991ab9a6ea9ac330b311a7a9dbae4bbe0d324fb421e037e09c5e3585703"},"name":"result.json"}]}},"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vflclhqm4cvlsaq5vhcvsg","model":"base","name":"Episode 7","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','bfde4c7f3d590153d6a1273787595e2312df3e077e8e2e867b98290d2fbc4c2c',0,0,0,0,40000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735547285127e+09,'submitted',3600.0,3,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,'0',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"audit":true,"excluded":["miner_3trb3cmjjx3navrd6v2rbc7nvb"]}',NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vflip67abdv776grjjb734','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','a.mp3',0,NULL,'base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vflip67abdv776grjjb734","model":"base","name":"whisper-transcription","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','187c80c6c42466e8838ced914fef32ec6b76aa7977ceefd8b6b3b0401f6f4dc2',0,0,0,0,100000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735648972702e+09,'cancelled',3600.0,3,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1.79609735659600782e+09,0.0,'0',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vflvebhksomlbkmg4p5920','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','a.mp3',0,'{"project": "later"}','base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vflvebhksomlbkmg4p5920","model":"base","name":"whisper-transcription","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','d2f5976d150e518cb531e5efda749029b5b22a62bdd866bbd3a381a23fc498ca',0,0,0,0,100000000,100000,NULL,NULL,NULL,NULL,'https://example.com/hook',NULL,1.79609735973106312e+09,'submitted',3600.0,3,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,'0',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job_06h2vfm13pegsqp1r9b1gvl3gk','account_06h2vfklredaq5picklb2g80f8','whisper_transcription','whisper_transcription','a.mp3',0,NULL,'base','{"files":{"audio_url":"https://example.com/a.mp3"},"job_id":"job_06h2vfm13pegsqp1r9b1gvl3gk","model":"base","name":"whisper-transcription","parameters":{"audio_url":"https://example.com/a.mp3","engine":null,"initial_prompt":null,"language":null,"model":"base","output_formats":[],"task":"transcribe","temperature":0,"word_timestamps":false},"resources":{},"service":"whisper_transcription","timeout_seconds":3600}','e59ac60117e657e0bf8d1e3fa59a0441a9beb8c0bba93b4733617cd493f77f88',0,0,0,0,80000000,100000,NULL,NULL,NULL,NULL,NULL,NULL,1.7960973601585009e+09,'submitted',3600.0,3,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,'0',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"audited":true}',20000000,NULL);
CREATE TABLE log_checkpoints (
	size BIGINT NOT NULL, 
	root BLOB NOT NULL, 
	note TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	cosigned INTEGER NOT NULL, 
	CONSTRAINT pk_log_checkpoints PRIMARY KEY (size)
);
INSERT INTO "log_checkpoints" VALUES(0,X'E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855','aitbc.local/9de2fc000821f29e
0
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=

— aitbc.local/9de2fc000821f29e gL2BqX70jGmDd49KxIV7cJqniwGJCBdl9c7NbLYvXMcXFVZWcPA4NrbghExt95BeqWEdzebWty8sJRY6Y3KVGzBXNAs=
',1.7960973459477725e+09,0);
INSERT INTO "log_checkpoints" VALUES(2,X'78C5DA5D967DE2A0E815AD1DB547F46174BA00E39286A2D06758DBA9D0E223BB','aitbc.local/9de2fc000821f29e
2
eMXaXZZ94qDoFa0dtUf0YXS6AOOShqLQZ1jbqdDiI7s=

— aitbc.local/9de2fc000821f29e gL2BqTIhhpN2Zs/5AnwFPqYXnfmHfHWuTiaOBVI7OqgMJzMVz4wg6Lrk3k0PsdjFYxFJb98oIcTRx1TYZNW0/MdO3gM=
',1.7960973524399321e+09,0);
INSERT INTO "log_checkpoints" VALUES(5,X'DEEEF1589D1D69CF6538C960106EE726AA90C4F4E18F8F6D44D42FB75AF26CAD','aitbc.local/9de2fc000821f29e
5
3u7xWJ0dac9lOMlgEG7nJqqQxPThj49tRNQvt1rybK0=

— aitbc.local/9de2fc000821f29e gL2BqalQzafVTpTNZFm9dPboSX3BQM9NJ5ACV8dtU8v9Rj+JfrqKvWM3nUQX5R+KpO5h+mom3324XpNoUD9XIYAKRwI=
',1.79609735340274882e+09,0);
INSERT INTO "log_checkpoints" VALUES(7,X'A6E94B31D3EF2ED2E91A7C2451D670F7CFE7F3D905C0E550EAE3EB42C8650B3B','aitbc.local/9de2fc000821f29e
7
pulLMdPvLtLpGnwkUdZw98/n89kFwOVQ6uPrQshlCzs=

— aitbc.local/9de2fc000821f29e gL2BqRSTTvwVCBHwJV3ireixHeFfVhaFmH0H+SU7y9rdZlIC6xWqtqESMGVVg/Yc/6Zt2/uIVeUWhiUPObqa3uX9CAA=
',1.79609735486797475e+09,0);
INSERT INTO "log_checkpoints" VALUES(8,X'037F6CF8AAE7AEA35E10642F4BA97EF7758280869260385CC1F5F10720D8418A','aitbc.local/9de2fc000821f29e
8
A39s+KrnrqNeEGQvS6l+93WCgIaSYDhcwfXxByDYQYo=

— aitbc.local/9de2fc000821f29e gL2BqRvs6VMtpYbegMDnn4xsg09BX2fFVwN7J9tdMHoSg/j2IJ8T+uEf/iFvVWwUyvyYqPKUUfTv3W59QAOARnNpWgI=
',1.79609735646905136e+09,0);
INSERT INTO "log_checkpoints" VALUES(9,X'F1EF6ADE8B2ECCDE5FFA7FFF9D5E3D204293FD1B79A07292EAC374E45DAF1439','aitbc.local/9de2fc000821f29e
9
8e9q3osuzN5f+n//nV49IEKT/Rt5oHKS6sN05F2vFDk=

— aitbc.local/9de2fc000821f29e gL2BqVcT3Pe8RrtSGF9WWd8QVLy3/QFHRq4A2Aokl9hQNoW2qAvejP3reEkGUfQfZQ4tFE69ZRfd+wk3zVTEhid9VAc=
',1.79609735678498601e+09,0);
INSERT INTO "log_checkpoints" VALUES(10,X'A201A106A551ADF3D05DA42BDA2E0E616E5E90AA8CB77DFE30D179F66CBEFAF3','aitbc.local/9de2fc000821f29e
10
ogGhBqVRrfPQXaQr2i4OYW5ekKqMt33+MNF59my++vM=

— aitbc.local/9de2fc000821f29e gL2BqRPhhKWLpmqmTjUwImU8wDt9NqZUhObrLVIqu7AV/RCO+ETAawm2L99br4odi2zUNjcEdZyywP42AH4keL/k5gg=
',1.79609735978631019e+09,0);
CREATE TABLE log_cosignatures (
	size BIGINT NOT NULL, 
	witness VARCHAR(400) NOT NULL, 
	timestamp BIGINT NOT NULL, 
	line TEXT NOT NULL, 
	CONSTRAINT pk_log_cosignatures PRIMARY KEY (size, witness), 
	CONSTRAINT fk_log_cosignatures_size FOREIGN KEY(size) REFERENCES log_checkpoints (size)
);
CREATE TABLE log_leaves (
	leaf_index INTEGER NOT NULL, 
	reference VARCHAR(80) NOT NULL, 
	content TEXT, 
	CONSTRAINT pk_log_leaves PRIMARY KEY (leaf_index), 
	CONSTRAINT uq_log_leaves_reference UNIQUE (reference)
);
INSERT INTO "log_leaves" VALUES(0,'tx_06h2vfkvcgqj1kj87f8frjktd8','{"_type":"https://aitbc.bubuit.net/settlement/v1","fee":"0.0002","held":"1","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","outcome":"completed","paid":"0.002","receipt_id":"receipt_06h2vfkvcgqj1kj87f8frjktd8","refunded":"0.998","settled_at":"2026-12-01T03:55:52.222Z","transaction_id":"tx_06h2vfkvcgqj1kj87f8frjktd8"}');
INSERT INTO "log_leaves" VALUES(1,'receipt_06h2vfkvcgqj1kj87f8frjktd8',NULL);
INSERT INTO "log_leaves" VALUES(2,'tx_06h2vfl3kvbn9tg0it1177n35g','{"_type":"https://aitbc.bubuit.net/settlement/v1","fee":"0.0001","held":"0.01","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","outcome":"completed","paid":"0.001","receipt_id":"receipt_06h2vfl3kvbn9tg0it1177n35g","refunded":"0.009","settled_at":"2026-12-01T03:55:53.175Z","transaction_id":"tx_06h2vfl3kvbn9tg0it1177n35g"}');
INSERT INTO "log_leaves" VALUES(3,'receipt_06h2vfl3kvbn9tg0it1177n35g',NULL);
INSERT INTO "log_leaves" VALUES(4,'audit_06h2vfl23oj7fkfels92mb6e8k','{"_type":"https://aitbc.bubuit.net/verdict/v1","audit_id":"audit_06h2vfl23oj7fkfels92mb6e8k","decided_at":"2026-12-01T03:55:53.403Z","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","kind":"check","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","model":"base","odd_ones":[],"opinions":[{"audit_id":"audit_06h2vfl23oj7fkfels92mb6e8k","comparison_sha256":"bf3f2de6576dd4f1852adca8185a0829e3f07b374930af250aa0f29ad16c7e74","kind":"check","receipt_id":"receipt_06h2vfl3kvbn9tg0it1177n35g","verdict":"pass"}],"parent":null,"receipt_id":"receipt_06h2vfkvcgqj1kj87f8frjktd8","sanction":null,"service":"whisper_transcription","verdict":"pass"}');
INSERT INTO "log_leaves" VALUES(5,'tx_06h2vfl927hs9jkc14r9p08fes','{"_type":"https://aitbc.bubuit.net/settlement/v1","fee":"0.01","held":"1","job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","outcome":"completed","paid":"0.1","receipt_id":"receipt_06h2vfl927hs9jkc14r9p08fes","refunded":"0.9","settled_at":"2026-12-01T03:55:54.563Z","transaction_id":"tx_06h2vfl927hs9jkc14r9p08fes"}');
INSERT INTO "log_leaves" VALUES(6,'receipt_06h2vfl927hs9jkc14r9p08fes',NULL);
INSERT INTO "log_leaves" VALUES(7,'tx_06h2vflcahimahvqdn3t4s999c','{"_type":"https://aitbc.bubuit.net/settlement/v1","fee":"0","held":"1","job_id":"job_06h2vflcahimahvqdn3t4s999c","miner_id":null,"outcome":"failed","paid":"0","receipt_id":null,"refunded":"1","settled_at":"2026-12-01T03:55:56.194Z","transaction_id":"tx_06h2vflcahimahvqdn3t4s999c"}');
INSERT INTO "log_leaves" VALUES(8,'tx_06h2vflip67abdv776grjjb734','{"_type":"https://aitbc.bubuit.net/settlement/v1","fee":"0","held":"1","job_id":"job_06h2vflip67abdv776grjjb734","miner_id":null,"outcome":"cancelled","paid":"0","receipt_id":null,"refunded":"1","settled_at":"2026-12-01T03:55:56.596Z","transaction_id":"tx_06h2vflip67abdv776grjjb734"}');
INSERT INTO "log_leaves" VALUES(9,'batch_06h2vflsnokjsaaubk23ioebm0','{"_type":"https://aitbc.bubuit.net/payout/v1","adapter":"file","amount":"0.0918","approved_at":"2026-12-01T03:55:59.453Z","batch_id":"batch_06h2vflsnokjsaaubk23ioebm0","count":1,"created_at":"2026-12-01T03:55:58.894Z","currency":"EUR","cut_off":"2026-12-01T03:55:58.894Z","decimals":2,"origin":"aitbc.local/9de2fc000821f29e","rate":"1","root":"b4ec5051f695cc29e371bb6ca724f5dabbaba22639eca1bdc43aba25df8c5dc6","rounding":"down","sent_amount":"0.09"}');
CREATE TABLE log_queue (
	entry_id INTEGER NOT NULL, 
	reference VARCHAR(80) NOT NULL, 
	leaf_hash BLOB NOT NULL, 
	content TEXT, 
	CONSTRAINT pk_log_queue PRIMARY KEY (entry_id)
);
CREATE TABLE log_tiles (
	level INTEGER NOT NULL, 
	tile_index BIGINT NOT NULL, 
	hashes BLOB NOT NULL, 
	CONSTRAINT pk_log_tiles PRIMARY KEY (level, tile_index)
);
INSERT INTO "log_tiles" VALUES(0,0,X'5E86C0DB6ECF56CCD3D8EAD5FF277ED52CC4DA82C0C9E337DF1C840E9FCAE4C5CB2C48F1DCA8CBD1E4AB5A360386A4CA1C5302441D2ED0E68C6315C3FE44113A60BBE77F4C0B8A0DB23D16E221370E70A12ADA7B873EACC124C240063045E4651F6A188075CDDFB86AB3F4C0782A828642C261D4BB666A466C5B68B2CC29CA7D4859730E74CF4CF3428CD3CB47803739DD647435FED38CC1BB95FEAEF8906FE8BA79FEDCCF4DE314269A8062681CD078F968D2C460BDBC2412087E2D8E44EF5A9017A97B8C4F1AB5F33768D63CD360EBF30653CB98737494B2EC879CAFE11C87C590012503E6A59FA78524819FD2D18183327F93A09E57B9757B3D7A9C09AD1CE6670FCB4E5C6987B9831BD8AD9E0D268329A602E86ED7DF8291EA2525F81AAEA914039FECD874CD44AA70D141AFF27F2DCA9C7590C64351F90CEB70292C785B');
CREATE TABLE logins (
	login_id VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64), 
	miner_id VARCHAR(64), 
	admin BOOLEAN NOT NULL, 
	expires_at FLOAT NOT NULL, 
	CONSTRAINT pk_logins PRIMARY KEY (login_id), 
	CONSTRAINT uq_logins_sha256 UNIQUE (sha256), 
	CONSTRAINT fk_logins_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id), 
	CONSTRAINT fk_logins_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
CREATE TABLE miner_commands (
	command_id VARCHAR(64) NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	gpu VARCHAR(200), 
	seconds FLOAT, 
	model VARCHAR(200), 
	settings TEXT, 
	given_by VARCHAR(120) DEFAULT '' NOT NULL, 
	created_at FLOAT NOT NULL, 
	executed_at FLOAT, 
	refusal TEXT, 
	CONSTRAINT pk_miner_commands PRIMARY KEY (command_id), 
	CONSTRAINT fk_miner_commands_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
CREATE TABLE miner_days (
	miner_id VARCHAR(64) NOT NULL, 
	day INTEGER NOT NULL, 
	jobs BIGINT NOT NULL, 
	earned BIGINT NOT NULL, 
	CONSTRAINT pk_miner_days PRIMARY KEY (miner_id, day), 
	CONSTRAINT fk_miner_days_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
INSERT INTO "miner_days" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb',20788,2,9180000);
INSERT INTO "miner_days" VALUES('miner_s4gp6a5hihf5ckm3ji25chrg7c',20788,1,90000);
CREATE TABLE miner_releases (
	miner_id VARCHAR(64) NOT NULL, 
	service VARCHAR(64) DEFAULT '' NOT NULL, 
	count FLOAT NOT NULL, 
	counted_at FLOAT NOT NULL, 
	pause_until FLOAT NOT NULL, 
	CONSTRAINT pk_miner_releases PRIMARY KEY (miner_id, service), 
	CONSTRAINT fk_miner_releases_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
CREATE TABLE miner_stats (
	miner_id VARCHAR(64) NOT NULL, 
	completed BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	refused BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	paid BIGINT NOT NULL, 
	earned BIGINT NOT NULL, 
	good FLOAT NOT NULL, 
	bad FLOAT NOT NULL, 
	evidence_at FLOAT NOT NULL, 
	client_failed BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_miner_stats PRIMARY KEY (miner_id), 
	CONSTRAINT fk_miner_stats_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
INSERT INTO "miner_stats" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb',2,0,0,5.60539007186889648e-01,10200000,9180000,1.9499994051195082e+00,0.0,1.79609735456392693e+09,1);
INSERT INTO "miner_stats" VALUES('miner_s4gp6a5hihf5ckm3ji25chrg7c',1,0,0,6.30230903625488281e-02,100000,90000,1.0,0.0,1.79609735317554426e+09,0);
CREATE TABLE miners (
	miner_id VARCHAR(64) NOT NULL, 
	public_key BLOB NOT NULL, 
	name TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	session_sha256 VARCHAR(64) NOT NULL, 
	capabilities TEXT NOT NULL, 
	telemetry TEXT NOT NULL, 
	paused TEXT, 
	registered_at FLOAT NOT NULL, 
	seen_at FLOAT NOT NULL, 
	agent_version VARCHAR(200), 
	activity TEXT, 
	runners TEXT DEFAULT '{}' NOT NULL, 
	excluded_at FLOAT, 
	excluded_reason TEXT, 
	removed_at FLOAT, 
	enrolment_id VARCHAR(64), 
	CONSTRAINT pk_miners PRIMARY KEY (miner_id), 
	CONSTRAINT uq_miners_public_key UNIQUE (public_key), 
	CONSTRAINT uq_miners_session_sha256 UNIQUE (session_sha256)
);
INSERT INTO "miners" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb',X'F674679F2969AD99DF8961AD1A825751800F5D536542DF08867B39C2BBF0EECD','scripted',1,'016b4c312c976c5fb832f8e786e1cd22f28dd59a694f64bb2f987b2a792c5f46','{"services":{"ai_inference":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"blender_rendering":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"image_generation":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"llm_inference":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"text_embedding":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"video_transcoding":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"whisper_transcription":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{"audits":true},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null}},"unavailable":{},"cpu_cores":64,"memory":274877906944,"disk_free":1099511627776,"gpus":[{"uuid":"GPU-1","index":0,"name":"Test GPU","memory_total":25769803776,"memory_free":25769803776,"compute_capability":"8.9","driver":"570.1"}],"slots":4,"sandbox":null,"settings":null,"encryption_keys":[]}','[]',NULL,1.79609735025682568e+09,1.79609735025682568e+09,'0',NULL,'{"ai_inference": [["scripted", "1"]], "blender_rendering": [["scripted", "1"]], "image_generation": [["scripted", "1"]], "llm_inference": [["scripted", "1"]], "text_embedding": [["scripted", "1"]], "video_transcoding": [["scripted", "1"]], "whisper_transcription": [["scripted", "1"]]}',NULL,NULL,NULL,NULL);
INSERT INTO "miners" VALUES('miner_s4gp6a5hihf5ckm3ji25chrg7c',X'1C8078F2EE93793540F2E9F9258A779427DB251B6607AC2FF7BC1A642557FC53','scripted',1,'1580268fb665028538ff316b65486b5d0e3a4056b967d18533f9d408cca45ffa','{"services":{"ai_inference":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"blender_rendering":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"image_generation":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"llm_inference":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"text_embedding":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"video_transcoding":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null},"whisper_transcription":{"runner":"scripted","version":"1","models":["tiny.en","base"],"loaded":[],"downloadable":false,"unit_price":"0.001","features":{"audits":true},"concurrency":1,"gpus":1,"unavailable_models":[],"score":null,"paused":null}},"unavailable":{},"cpu_cores":64,"memory":274877906944,"disk_free":1099511627776,"gpus":[{"uuid":"GPU-1","index":0,"name":"Test GPU","memory_total":25769803776,"memory_free":25769803776,"compute_capability":"8.9","driver":"570.1"}],"slots":4,"sandbox":null,"settings":null,"encryption_keys":[]}','[]',NULL,1.79609735100765633e+09,1.79609735100765633e+09,'0',NULL,'{"ai_inference": [["scripted", "1"]], "blender_rendering": [["scripted", "1"]], "image_generation": [["scripted", "1"]], "llm_inference": [["scripted", "1"]], "text_embedding": [["scripted", "1"]], "video_transcoding": [["scripted", "1"]], "whisper_transcription": [["scripted", "1"]]}',NULL,NULL,NULL,NULL);
CREATE TABLE offers (
	offer_id VARCHAR(64) NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	job_type VARCHAR(64) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	service VARCHAR(64), 
	price BIGINT NOT NULL, 
	max_jobs INTEGER, 
	jobs_left INTEGER, 
	min_gpu_memory BIGINT NOT NULL, 
	min_cpu_millis INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT, 
	state VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_offers PRIMARY KEY (offer_id), 
	CONSTRAINT ck_offers_jobs_left CHECK (jobs_left >= 0 AND jobs_left <= max_jobs), 
	CONSTRAINT uq_offers_standing UNIQUE (miner_id, service), 
	CONSTRAINT fk_offers_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
INSERT INTO "offers" VALUES('offer_06h2vfkrh5s5linnjs0pmhajo4','miner_3trb3cmjjx3navrd6v2rbc7nvb','ai_inference','ai_inference','ai_inference',100000,NULL,NULL,0,0,1.79609735053764581e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvl8eoe8occpvvrt1ks','miner_3trb3cmjjx3navrd6v2rbc7nvb','blender_rendering','blender_rendering','blender_rendering',100000,NULL,NULL,0,0,1.79609735065336513e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvm0ke0fto5al6rifvc','miner_3trb3cmjjx3navrd6v2rbc7nvb','image_generation','image_generation','image_generation',100000,NULL,NULL,0,0,1.79609735065353417e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvmdbg6uf8b5me4m320','miner_3trb3cmjjx3navrd6v2rbc7nvb','llm_inference','llm_inference','llm_inference',100000,NULL,NULL,0,0,1.79609735065363168e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvmoijnep0kl2ib8rk0','miner_3trb3cmjjx3navrd6v2rbc7nvb','text_embedding','text_embedding','text_embedding',100000,NULL,NULL,0,0,1.79609735065372037e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvn3kqurhgaegqncp9k','miner_3trb3cmjjx3navrd6v2rbc7nvb','video_transcoding','video_transcoding','video_transcoding',100000,NULL,NULL,0,0,1796097350.65381,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfkrvne25dmo4n6ud7g32k','miner_3trb3cmjjx3navrd6v2rbc7nvb','whisper_transcription','whisper_transcription','whisper_transcription',100000,NULL,NULL,0,0,1.79609735065389275e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku29crl5qadrnbloqd18','miner_s4gp6a5hihf5ckm3ji25chrg7c','ai_inference','ai_inference','ai_inference',100000,NULL,NULL,0,0,1.79609735118639636e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2ad6qfane5vus92amg','miner_s4gp6a5hihf5ckm3ji25chrg7c','blender_rendering','blender_rendering','blender_rendering',100000,NULL,NULL,0,0,1.79609735118664073e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2b71bacafo8s4maigo','miner_s4gp6a5hihf5ckm3ji25chrg7c','image_generation','image_generation','image_generation',100000,NULL,NULL,0,0,1.7960973511868422e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2bjomf66piimtlct7c','miner_s4gp6a5hihf5ckm3ji25chrg7c','llm_inference','llm_inference','llm_inference',100000,NULL,NULL,0,0,1.79609735118694019e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2c2145tpgnmqervif4','miner_s4gp6a5hihf5ckm3ji25chrg7c','text_embedding','text_embedding','text_embedding',100000,NULL,NULL,0,0,1.79609735118702816e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2ccee28s2rsb7fcvr4','miner_s4gp6a5hihf5ckm3ji25chrg7c','video_transcoding','video_transcoding','video_transcoding',100000,NULL,NULL,0,0,1.79609735118711018e+09,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfku2cmf7sj4to1op4jmgg','miner_s4gp6a5hihf5ckm3ji25chrg7c','whisper_transcription','whisper_transcription','whisper_transcription',100000,NULL,NULL,0,0,1796097351.18719,NULL,'active');
INSERT INTO "offers" VALUES('offer_06h2vfllnnqj0tffferedup51o','miner_3trb3cmjjx3navrd6v2rbc7nvb','image-classification','image_classification',NULL,100000,10,10,4294967296,2000,1.7960973572459774e+09,4102444800.0,'active');
CREATE TABLE payout_addresses (
	miner_id VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	adapter VARCHAR(32) NOT NULL, 
	currency VARCHAR(16) NOT NULL, 
	address TEXT NOT NULL, 
	envelope TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	effective_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	CONSTRAINT pk_payout_addresses PRIMARY KEY (miner_id, sequence), 
	CONSTRAINT fk_payout_addresses_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id)
);
INSERT INTO "payout_addresses" VALUES('miner_3trb3cmjjx3navrd6v2rbc7nvb',1796097343338,'file','EUR','DE02 5001 0517 0000 0000 00','{"payload":"eyJhZGFwdGVyIjoiZmlsZSIsImFkZHJlc3MiOiJERTAyIDUwMDEgMDUxNyAwMDAwIDAwMDAgMDAiLCJjcmVhdGVkX2F0IjoiMjAyNi0xMi0wMVQwMzo1NTo1N1oiLCJjdXJyZW5jeSI6IkVVUiIsIm1pbmVyX2lkIjoibWluZXJfM3RyYjNjbWpqeDNuYXZyZDZ2MnJiYzdudmIiLCJvcmlnaW4iOiJhaXRiYy5sb2NhbC85ZGUyZmMwMDA4MjFmMjllIiwic2VxdWVuY2UiOjE3OTYwOTczNDMzMzh9","payloadType":"application/vnd.aitbc.payout-address+json","signatures":[{"keyid":"","sig":"0Ov85bEhW/WxIt+z6WjvmmhwBPlgqorgKDPs6WDcKe07UkVLkbNHpxekZxd023Wy0mFvnSvsIzSbzFQZrJP0CA=="}]}',1.79609735746763157e+09,1.79609735746763157e+09,NULL);
CREATE TABLE payout_batches (
	batch_id VARCHAR(64) NOT NULL, 
	adapter VARCHAR(32) NOT NULL, 
	currency VARCHAR(16) NOT NULL, 
	decimals INTEGER NOT NULL, 
	rate VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	cut_off FLOAT NOT NULL, 
	minimum BIGINT NOT NULL, 
	count INTEGER NOT NULL, 
	amount BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	manifest TEXT, 
	created_at FLOAT NOT NULL, 
	created_by VARCHAR(64) NOT NULL, 
	approved_at FLOAT, 
	approved_by VARCHAR(64), 
	finished_at FLOAT, 
	cancelled_by VARCHAR(64), 
	last_error TEXT, 
	CONSTRAINT pk_payout_batches PRIMARY KEY (batch_id)
);
INSERT INTO "payout_batches" VALUES('batch_06h2vflsnokjsaaubk23ioebm0','file','EUR',2,'1','sending',1.79609735889455533e+09,1000000,1,9180000,'','{"_type":"https://aitbc.bubuit.net/payout/v1","adapter":"file","amount":"0.0918","approved_at":"2026-12-01T03:55:59.453Z","batch_id":"batch_06h2vflsnokjsaaubk23ioebm0","count":1,"created_at":"2026-12-01T03:55:58.894Z","currency":"EUR","cut_off":"2026-12-01T03:55:58.894Z","decimals":2,"origin":"aitbc.local/9de2fc000821f29e","rate":"1","root":"b4ec5051f695cc29e371bb6ca724f5dabbaba22639eca1bdc43aba25df8c5dc6","rounding":"down","sent_amount":"0.09"}',1.79609735889455533e+09,'key_06h2vfkn20gjc52q3f4a71v4is',1.79609735945321774e+09,'key_06h2vfkn20gjc52q3f4a71v4is',NULL,NULL,NULL);
CREATE TABLE payout_transfers (
	transfer_id VARCHAR(64) NOT NULL, 
	batch_id VARCHAR(64) NOT NULL, 
	adapter VARCHAR(32) NOT NULL, 
	source VARCHAR(200) NOT NULL, 
	nonce BIGINT, 
	state VARCHAR(16) NOT NULL, 
	content BLOB NOT NULL, 
	reference TEXT NOT NULL, 
	adapter_state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	next_call_at FLOAT, 
	last_error TEXT, 
	created_at FLOAT NOT NULL, 
	sent_at FLOAT, 
	finished_at FLOAT, 
	CONSTRAINT pk_payout_transfers PRIMARY KEY (transfer_id), 
	CONSTRAINT uq_payout_transfers_nonce UNIQUE (adapter, source, nonce), 
	CONSTRAINT fk_payout_transfers_batch_id FOREIGN KEY(batch_id) REFERENCES payout_batches (batch_id)
);
INSERT INTO "payout_transfers" VALUES('transfer_06h2vfm090kob371u7ftcglg70','batch_06h2vflsnokjsaaubk23ioebm0','file','',NULL,'sent',X'7B2262617463685F6964223A2262617463685F3036683276666C736E6F6B6A73616175626B3233696F65626D30222C2263757272656E6379223A22455552222C226D616E69666573745F736861323536223A2238646130376162666263326162316164663031316632613739323564366435303261626431383032346562313762656634376438336563633438333965346232222C227061796D656E7473223A5B7B2261646472657373223A22444530322035303031203035313720303030302030303030203030222C22616D6F756E74223A22302E3039222C2263757272656E6379223A22455552222C226D696E65725F6964223A226D696E65725F3374726233636D6A6A78336E61767264367632726263376E7662222C227061796F75745F6964223A227061796F75745F3036683276666C73357135637437693438746973727230763363227D5D2C22746F74616C223A22302E3039227D','batch_06h2vflsnokjsaaubk23ioebm0-45f6dfb8','{"sha256": "45f6dfb8abd6e03c9ca690b4dd9b5973c83a16be6a276ceb4a022cbfe56f4786", "directory": "/tmp/w1/data020/coordinator/payouts"}',1,0,1.79609736359850883e+09,NULL,1.79609735994416594e+09,1.79609736040767049e+09,NULL);
CREATE TABLE payouts (
	payout_id VARCHAR(64) NOT NULL, 
	batch_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	tx_id VARCHAR(64) NOT NULL, 
	address TEXT NOT NULL, 
	amount BIGINT NOT NULL, 
	sent_amount VARCHAR(64) NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	transfer_id VARCHAR(64), 
	waiting_for TEXT, 
	handed_in TEXT, 
	reference TEXT, 
	reason TEXT, 
	created_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	CONSTRAINT pk_payouts PRIMARY KEY (payout_id), 
	CONSTRAINT uq_payouts_batch_miner UNIQUE (batch_id, miner_id), 
	CONSTRAINT uq_payouts_position UNIQUE (batch_id, position), 
	CONSTRAINT fk_payouts_batch_id FOREIGN KEY(batch_id) REFERENCES payout_batches (batch_id), 
	CONSTRAINT fk_payouts_miner_id FOREIGN KEY(miner_id) REFERENCES miners (miner_id), 
	CONSTRAINT uq_payouts_tx_id UNIQUE (tx_id), 
	CONSTRAINT fk_payouts_tx_id FOREIGN KEY(tx_id) REFERENCES transactions (tx_id), 
	CONSTRAINT fk_payouts_transfer_id FOREIGN KEY(transfer_id) REFERENCES payout_transfers (transfer_id)
);
INSERT INTO "payouts" VALUES('payout_06h2vfls5q5ct7i48tisrr0v3c','batch_06h2vflsnokjsaaubk23ioebm0',0,'miner_3trb3cmjjx3navrd6v2rbc7nvb','tx_06h2vfls5q5ct7i48tisrr0v3c','DE02 5001 0517 0000 0000 00',9180000,'0.09','d591b127cf41a2241909019d8168c54a','sent','transfer_06h2vfm090kob371u7ftcglg70',NULL,NULL,NULL,NULL,1.79609735889455533e+09,NULL);
CREATE TABLE postings (
	tx_id VARCHAR(64) NOT NULL, 
	entry VARCHAR(16) NOT NULL, 
	ledger_account VARCHAR(80) NOT NULL, 
	amount BIGINT NOT NULL, 
	CONSTRAINT pk_postings PRIMARY KEY (tx_id, entry, ledger_account), 
	CONSTRAINT ck_postings_bounds CHECK (amount BETWEEN -9000000000000000000 AND 9000000000000000000), 
	CONSTRAINT fk_postings_tx_id FOREIGN KEY(tx_id) REFERENCES transactions (tx_id)
);
INSERT INTO "postings" VALUES('tx_06h2vfkm3f6renfc14k8af4ak8','credit','issued',-100000000000000);
INSERT INTO "postings" VALUES('tx_06h2vfkm3f6renfc14k8af4ak8','credit','available:account_06h2vfklredaq5picklb2g80f8',100000000000000);
INSERT INTO "postings" VALUES('tx_06h2vfkmtportojab5omdfsa5s','credit','issued',-100000000000000);
INSERT INTO "postings" VALUES('tx_06h2vfkmtportojab5omdfsa5s','credit','available:account_06h2vfkmtfal6i4bafq97ng348',100000000000000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','settlement','escrow:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','settlement','available:account_06h2vfklredaq5picklb2g80f8',99800000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','settlement','fees',20000);
INSERT INTO "postings" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','settlement','earned:miner_3trb3cmjjx3navrd6v2rbc7nvb',180000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvgplggq4dlolndo2s','funding','fees',-20000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvgplggq4dlolndo2s','funding','issued',-980000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvgplggq4dlolndo2s','funding','available:account_audits',1000000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','hold','available:account_audits',-1000000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','hold','escrow:account_audits',1000000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','settlement','escrow:account_audits',-1000000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','settlement','available:account_audits',900000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','settlement','fees',10000);
INSERT INTO "postings" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','settlement','earned:miner_s4gp6a5hihf5ckm3ji25chrg7c',90000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','settlement','escrow:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','settlement','available:account_06h2vfklredaq5picklb2g80f8',90000000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','settlement','fees',1000000);
INSERT INTO "postings" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','settlement','earned:miner_3trb3cmjjx3navrd6v2rbc7nvb',9000000);
INSERT INTO "postings" VALUES('tx_06h2vflcahimahvqdn3t4s999c','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vflcahimahvqdn3t4s999c','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vflclhuq0soss99es7qiuc','funding','fees',-1010000);
INSERT INTO "postings" VALUES('tx_06h2vflclhuq0soss99es7qiuc','funding','issued',-38090000);
INSERT INTO "postings" VALUES('tx_06h2vflclhuq0soss99es7qiuc','funding','available:account_audits',39100000);
INSERT INTO "postings" VALUES('tx_06h2vflclhqm4cvlsaq5vhcvsg','hold','available:account_audits',-40000000);
INSERT INTO "postings" VALUES('tx_06h2vflclhqm4cvlsaq5vhcvsg','hold','escrow:account_audits',40000000);
INSERT INTO "postings" VALUES('tx_06h2vflcahimahvqdn3t4s999c','settlement','escrow:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vflcahimahvqdn3t4s999c','settlement','available:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vflip67abdv776grjjb734','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vflip67abdv776grjjb734','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vflip67abdv776grjjb734','settlement','escrow:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vflip67abdv776grjjb734','settlement','available:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vfls5q5ct7i48tisrr0v3c','hold','earned:miner_3trb3cmjjx3navrd6v2rbc7nvb',-9180000);
INSERT INTO "postings" VALUES('tx_06h2vfls5q5ct7i48tisrr0v3c','hold','payout:batch_06h2vflsnokjsaaubk23ioebm0',9180000);
INSERT INTO "postings" VALUES('tx_06h2vflvebhksomlbkmg4p5920','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vflvebhksomlbkmg4p5920','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
INSERT INTO "postings" VALUES('tx_06h2vfm13pegsqp1r9b1gvl3gk','hold','available:account_06h2vfklredaq5picklb2g80f8',-100000000);
INSERT INTO "postings" VALUES('tx_06h2vfm13pegsqp1r9b1gvl3gk','hold','escrow:account_06h2vfklredaq5picklb2g80f8',100000000);
CREATE TABLE receipts (
	receipt_id VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	statement_sha256 VARCHAR(64) NOT NULL, 
	receipt TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_receipts PRIMARY KEY (receipt_id), 
	CONSTRAINT uq_receipts_job_id UNIQUE (job_id), 
	CONSTRAINT fk_receipts_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "receipts" VALUES('receipt_06h2vfkvcgqj1kj87f8frjktd8','job_06h2vfkvcgqj1kj87f8frjktd8','miner_3trb3cmjjx3navrd6v2rbc7nvb','ebb199052d6729cead2a12b343f6ac885a1ef3de44c38044c84e589eaa4c332d','{"receipt_id":"receipt_06h2vfkvcgqj1kj87f8frjktd8","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","signature":{"sig":"i9v8fpxcOk5pu7/DkCoCi6k9zr1qnPYkm1RFY1aDxLS6Ex1vCKrwY1dEj7s5G6zxxv3NcG30HxJ9vCBuIYySAQ==","public_key":"9nRnnylprZnfiWGtGoJXUYAPXVNlQt8Ihns5wrvw7s0="},"attestations":[{"type":"assignment","timestamp":"2026-12-01T03:55:51.836Z","statement_sha256":"ebb199052d6729cead2a12b343f6ac885a1ef3de44c38044c84e589eaa4c332d","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","fence":"1","signature":"g4MogHJocgWKaJIhMcv9C7C2vrxsi6qb8eKuvO8G7paUAhe0l7DE6w2o/T1/CnKEWj0A21AGi2k3PROuWzUrAg=="},{"type":"completion","timestamp":"2026-12-01T03:55:52.222Z","statement_sha256":"ebb199052d6729cead2a12b343f6ac885a1ef3de44c38044c84e589eaa4c332d","job_id":"job_06h2vfkvcgqj1kj87f8frjktd8","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","fence":"1","signature":"xA+wpoVLtjLTZcHS/F6pxVexNcKVp4eRL3sbpBHJkM7WM2GtyTFV8rX21DgSElbxcDGYnmGxn3kzKKsD1omgDA=="}],"created_at":"2026-12-01T03:55:52.222Z","envelope":{"payloadType":"application/vnd.in-toto+json","payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOnsiZGV2aWNlIjp7ImtpbmQiOiJjdWRhIiwibmFtZSI6IlRlc3QgR1BVIiwidXVpZCI6IkdQVS0xIn0sImZlbmNlIjoiMSIsImZpbmlzaGVkX2F0IjoiMjAyNi0xMi0wMVQwMzo1NTo1MS44MzZaIiwiaW5wdXRzIjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiZjA0OTRhNTkyMjMwYzk4OTk1YWMwNjVhNTY0ODdjNTYwMDVkZjhhNWEzMzY0MWEzZTRiMjg2MWM4NjEzYjhhNiJ9LCJuYW1lIjoiYXVkaW9fdXJsIn1dLCJqb2JfaWQiOiJqb2JfMDZoMnZma3ZjZ3FqMWtqODdmOGZyamt0ZDgiLCJtaW5lcl9pZCI6Im1pbmVyXzN0cmIzY21qangzbmF2cmQ2djJyYmM3bnZiIiwibW9kZWwiOnsiZGlnZXN0Ijp7InNoYTI1NiI6IjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAifSwibmFtZSI6ImJhc2UifSwib3JpZ2luIjoiYWl0YmMubG9jYWwvOWRlMmZjMDAwODIxZjI5ZSIsInByaWNlIjoiMC4wMDIiLCJydW5uZXIiOnsibmFtZSI6InNjcmlwdGVkIiwidmVyc2lvbiI6IjEifSwic2VydmljZSI6IndoaXNwZXJfdHJhbnNjcmlwdGlvbiIsInNwZWNfZGlnZXN0IjoiZmY2ZTBlOGY0YjNhMmZhOTA1ZDk3ZTYzMzkxOTI4NTg2ODNmZTQ5NWE0OGI4NTAzZThmOTZlMTUxMTA4ZGI3ZSIsInN0YXJ0ZWRfYXQiOiIyMDI2LTEyLTAxVDAzOjU1OjUxLjgzNloiLCJ1bml0IjoiYXVkaW8gc2Vjb25kIiwidW5pdF9wcmljZSI6IjAuMDAxIiwidW5pdHMiOiIyIn0sInByZWRpY2F0ZVR5cGUiOiJodHRwczovL2FpdGJjLmJ1YnVpdC5uZXQvam9iLXJlY2VpcHQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiM2FiNGJlNzcyZTZmMDU2MDUzYzYwMzlhM2ZkNmFlMTk1ODU1ZGIwZjgzNGUxNmNiOTFlMmUxYWY3NDczMjhkNiJ9LCJuYW1lIjoicmVzdWx0Lmpzb24ifV19","signatures":[{"keyid":"","sig":"i9v8fpxcOk5pu7/DkCoCi6k9zr1qnPYkm1RFY1aDxLS6Ex1vCKrwY1dEj7s5G6zxxv3NcG30HxJ9vCBuIYySAQ=="}]}}',1.7960973522223103e+09);
INSERT INTO "receipts" VALUES('receipt_06h2vfl3kvbn9tg0it1177n35g','job_06h2vfl3kvbn9tg0it1177n35g','miner_s4gp6a5hihf5ckm3ji25chrg7c','f383d4bdd936465ed3f01e8d67ecb50f2a498856926582285316fa9790240367','{"receipt_id":"receipt_06h2vfl3kvbn9tg0it1177n35g","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","signature":{"sig":"q4BuW1kw089CUy+iGJHx2Z3L5lDCUtz41cjCcOXq7aRHyWCzNmUjUH1ldiyMAOX3HC7jvU0X1ptBN0W0sMkLDA==","public_key":"HIB48u6TeTVA8un5JYp3lCfbJRtmB6wv97waZCVX/FM="},"attestations":[{"type":"assignment","timestamp":"2026-12-01T03:55:53.112Z","statement_sha256":"f383d4bdd936465ed3f01e8d67ecb50f2a498856926582285316fa9790240367","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","fence":"1","signature":"I+Akyz8hb7ll+NfKU9rBFwCNZ4g+sDxnM40atcvbmf/KcMnhA/ipbLy6VvrPgMfMR3MvXS3XFoi/qh3YAlvRCA=="},{"type":"completion","timestamp":"2026-12-01T03:55:53.175Z","statement_sha256":"f383d4bdd936465ed3f01e8d67ecb50f2a498856926582285316fa9790240367","job_id":"job_06h2vfl3kvbn9tg0it1177n35g","miner_id":"miner_s4gp6a5hihf5ckm3ji25chrg7c","fence":"1","signature":"outg4GQhuCqIW4qTMfkNGrsEbdxHcbA48P2MhaDg0RFW6hgKx/gkkq7LX7AAQ493JIq3aLdwtrRqKXHeDMsFCQ=="}],"created_at":"2026-12-01T03:55:53.175Z","envelope":{"payloadType":"application/vnd.in-toto+json","payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOnsiZGV2aWNlIjp7ImtpbmQiOiJjdWRhIiwibmFtZSI6IlRlc3QgR1BVIiwidXVpZCI6IkdQVS0xIn0sImZlbmNlIjoiMSIsImZpbmlzaGVkX2F0IjoiMjAyNi0xMi0wMVQwMzo1NTo1My4xMTJaIiwiaW5wdXRzIjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiZjA0OTRhNTkyMjMwYzk4OTk1YWMwNjVhNTY0ODdjNTYwMDVkZjhhNWEzMzY0MWEzZTRiMjg2MWM4NjEzYjhhNiJ9LCJuYW1lIjoiYXVkaW9fdXJsIn1dLCJqb2JfaWQiOiJqb2JfMDZoMnZmbDNrdmJuOXRnMGl0MTE3N24zNWciLCJtaW5lcl9pZCI6Im1pbmVyX3M0Z3A2YTVoaWhmNWNrbTNqaTI1Y2hyZzdjIiwibW9kZWwiOnsiZGlnZXN0Ijp7InNoYTI1NiI6IjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAifSwibmFtZSI6ImJhc2UifSwib3JpZ2luIjoiYWl0YmMubG9jYWwvOWRlMmZjMDAwODIxZjI5ZSIsInByaWNlIjoiMC4wMDEiLCJydW5uZXIiOnsibmFtZSI6InNjcmlwdGVkIiwidmVyc2lvbiI6IjEifSwic2VydmljZSI6IndoaXNwZXJfdHJhbnNjcmlwdGlvbiIsInNwZWNfZGlnZXN0IjoiMTU5ODBiNzA1YzFmZGIyOWFmZmFkZDBhYzViZmViM2IwNmZmZDQzNDkwZTIzNjk5N2JmZDY4MDNjNzU1MDViNiIsInN0YXJ0ZWRfYXQiOiIyMDI2LTEyLTAxVDAzOjU1OjUzLjExMloiLCJ1bml0IjoiYXVkaW8gc2Vjb25kIiwidW5pdF9wcmljZSI6IjAuMDAxIiwidW5pdHMiOiIxIn0sInByZWRpY2F0ZVR5cGUiOiJodHRwczovL2FpdGJjLmJ1YnVpdC5uZXQvam9iLXJlY2VpcHQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiODg0NDZhOGY1ZTRiMDNhYmFlMTZjMThmNDU2NjkyZWY5ZjEwMjIxMGM1OWY5ODBiNThiZmNlMTAxMGVmOTdjYiJ9LCJuYW1lIjoicmVzdWx0Lmpzb24ifV19","signatures":[{"keyid":"","sig":"q4BuW1kw089CUy+iGJHx2Z3L5lDCUtz41cjCcOXq7aRHyWCzNmUjUH1ldiyMAOX3HC7jvU0X1ptBN0W0sMkLDA=="}]}}',1.79609735317554426e+09);
INSERT INTO "receipts" VALUES('receipt_06h2vfl927hs9jkc14r9p08fes','job_06h2vfl927hs9jkc14r9p08fes','miner_3trb3cmjjx3navrd6v2rbc7nvb','adfbb4501fcd78f1cb43a00f187177e391d302bbb3280cabe93a669457bf2b5c','{"receipt_id":"receipt_06h2vfl927hs9jkc14r9p08fes","job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","signature":{"sig":"T0x9yhJyd2/janwFLKh7uv32Y7RiTUiIwqsP0V8jqj3fRMb4td6hna9VS6oyowHMDl37D02RKTpWtTfJXJXLBw==","public_key":"9nRnnylprZnfiWGtGoJXUYAPXVNlQt8Ihns5wrvw7s0="},"attestations":[{"type":"assignment","timestamp":"2026-12-01T03:55:54.389Z","statement_sha256":"adfbb4501fcd78f1cb43a00f187177e391d302bbb3280cabe93a669457bf2b5c","job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","fence":"1","signature":"v4dGS3A/B8xbK3ZWoBAz9LtpuOzJxCYg5AFmgiwuSRNICw5fw+L0iNrkkYWOPq1SWWTCxYCKbtm/QahpBF7eBw=="},{"type":"completion","timestamp":"2026-12-01T03:55:54.563Z","statement_sha256":"adfbb4501fcd78f1cb43a00f187177e391d302bbb3280cabe93a669457bf2b5c","job_id":"job_06h2vfl927hs9jkc14r9p08fes","miner_id":"miner_3trb3cmjjx3navrd6v2rbc7nvb","fence":"1","signature":"Gf1VcNcv3gP33Qx7sUb6Qi6APJDT+J35kfANJZUj+Rz1k/bAoXpFSJQEFVdseNzH1JwkPi8zeSFSPK6wxsnzDg=="}],"created_at":"2026-12-01T03:55:54.563Z","envelope":{"payloadType":"application/vnd.in-toto+json","payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOnsiZGV2aWNlIjp7ImtpbmQiOiJjdWRhIiwibmFtZSI6IlRlc3QgR1BVIiwidXVpZCI6IkdQVS0xIn0sImZlbmNlIjoiMSIsImZpbmlzaGVkX2F0IjoiMjAyNi0xMi0wMVQwMzo1NTo1NC4zODlaIiwiaW5wdXRzIjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiZjA0OTRhNTkyMjMwYzk4OTk1YWMwNjVhNTY0ODdjNTYwMDVkZjhhNWEzMzY0MWEzZTRiMjg2MWM4NjEzYjhhNiJ9LCJuYW1lIjoiYXVkaW9fdXJsIn1dLCJqb2JfaWQiOiJqb2JfMDZoMnZmbDkyN2hzOWprYzE0cjlwMDhmZXMiLCJtaW5lcl9pZCI6Im1pbmVyXzN0cmIzY21qangzbmF2cmQ2djJyYmM3bnZiIiwibW9kZWwiOnsiZGlnZXN0Ijp7InNoYTI1NiI6IjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAifSwibmFtZSI6ImJhc2UifSwib3JpZ2luIjoiYWl0YmMubG9jYWwvOWRlMmZjMDAwODIxZjI5ZSIsInByaWNlIjoiMC4xIiwicnVubmVyIjp7Im5hbWUiOiJzY3JpcHRlZCIsInZlcnNpb24iOiIxIn0sInNlcnZpY2UiOiJ3aGlzcGVyX3RyYW5zY3JpcHRpb24iLCJzcGVjX2RpZ2VzdCI6ImE2ZDJlZjAzMDUzZmUxOTBlYjcyMjIxZTVlZmRiOWI0MTk1NmM3MTE2YzdjMzBmOWJjNmQ3MWY0ZGRiOTEwODEiLCJzdGFydGVkX2F0IjoiMjAyNi0xMi0wMVQwMzo1NTo1NC4zODlaIiwidW5pdCI6ImF1ZGlvIHNlY29uZCIsInVuaXRfcHJpY2UiOiIwLjAwMSIsInVuaXRzIjoiMTAwIn0sInByZWRpY2F0ZVR5cGUiOiJodHRwczovL2FpdGJjLmJ1YnVpdC5uZXQvam9iLXJlY2VpcHQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiNzM0ZDI5OTFhYjlhNmVhOWFjMzMwYjMxMWE3YTlkYmFlNGJiZTBkMzI0ZmI0MjFlMDM3ZTA5YzVlMzU4NTcwMyJ9LCJuYW1lIjoicmVzdWx0Lmpzb24ifV19","signatures":[{"keyid":"","sig":"T0x9yhJyd2/janwFLKh7uv32Y7RiTUiIwqsP0V8jqj3fRMb4td6hna9VS6oyowHMDl37D02RKTpWtTfJXJXLBw=="}]}}',1.79609735456392693e+09);
CREATE TABLE recent_job_counts (
	account_id VARCHAR(64) NOT NULL, 
	part BIGINT NOT NULL, 
	service VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	change BIGINT NOT NULL, 
	CONSTRAINT pk_recent_job_counts PRIMARY KEY (account_id, part, service, state), 
	CONSTRAINT fk_recent_job_counts_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
CREATE TABLE recent_parts (
	name VARCHAR(32) NOT NULL, 
	first BIGINT NOT NULL, 
	CONSTRAINT pk_recent_parts PRIMARY KEY (name)
);
CREATE TABLE recent_work (
	work_id INTEGER NOT NULL, 
	part BIGINT NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	completed BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	client_failed BIGINT NOT NULL, 
	refused BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	paid BIGINT NOT NULL, 
	earned BIGINT NOT NULL, 
	success INTEGER, 
	weight FLOAT NOT NULL, 
	service VARCHAR(64), 
	model VARCHAR(128), 
	run_seconds FLOAT, 
	done_at FLOAT NOT NULL, 
	CONSTRAINT pk_recent_work PRIMARY KEY (work_id)
);
CREATE TABLE removed_blobs (
	blob VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_removed_blobs PRIMARY KEY (blob)
);
CREATE TABLE results (
	job_id VARCHAR(64) NOT NULL, 
	results TEXT NOT NULL, 
	CONSTRAINT pk_results PRIMARY KEY (job_id), 
	CONSTRAINT fk_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "results" VALUES('job_06h2vfkvcgqj1kj87f8frjktd8','{"duration":2,"language":"en","processing_time":1,"segments":[],"text":"Hello","units":2}');
INSERT INTO "results" VALUES('job_06h2vfl927hs9jkc14r9p08fes','{"duration":2,"language":"en","processing_time":1,"segments":[],"text":"Episode","units":100}');
CREATE TABLE run_outputs (
	job_id VARCHAR(64) NOT NULL, 
	artifact_id VARCHAR(80) NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	fence INTEGER NOT NULL, 
	media_type TEXT NOT NULL, 
	CONSTRAINT pk_run_outputs PRIMARY KEY (job_id, artifact_id), 
	CONSTRAINT fk_run_outputs_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id), 
	CONSTRAINT fk_run_outputs_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifacts (artifact_id)
);
CREATE TABLE runs (
	job_id VARCHAR(64) NOT NULL, 
	fence INTEGER NOT NULL, 
	miner_id VARCHAR(64) NOT NULL, 
	assigned_at FLOAT NOT NULL, 
	ended_at FLOAT NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	failure_code VARCHAR(64), 
	failure_message TEXT, 
	CONSTRAINT pk_runs PRIMARY KEY (job_id, fence), 
	CONSTRAINT fk_runs_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "runs" VALUES('job_06h2vfkvcgqj1kj87f8frjktd8',1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',1.79609735183662319e+09,1.7960973522223103e+09,'completed',NULL,NULL);
INSERT INTO "runs" VALUES('job_06h2vfl3kvbn9tg0it1177n35g',1,'miner_s4gp6a5hihf5ckm3ji25chrg7c',1.79609735311252117e+09,1.79609735317554426e+09,'completed',NULL,NULL);
INSERT INTO "runs" VALUES('job_06h2vfl927hs9jkc14r9p08fes',1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',1.79609735438907504e+09,1.79609735456392693e+09,'completed',NULL,NULL);
INSERT INTO "runs" VALUES('job_06h2vflcahimahvqdn3t4s999c',1,'miner_3trb3cmjjx3navrd6v2rbc7nvb',1.79609735592520618e+09,1.79609735619410896e+09,'failed','INPUT_INVALID','no audio');
CREATE TABLE stored_bytes (
	owner VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	CONSTRAINT pk_stored_bytes PRIMARY KEY (owner)
);
CREATE TABLE transactions (
	tx_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	miner_id VARCHAR(64), 
	job_id VARCHAR(64), 
	held BIGINT NOT NULL, 
	paid BIGINT NOT NULL, 
	fee BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	settled_at FLOAT, 
	CONSTRAINT pk_transactions PRIMARY KEY (tx_id), 
	CONSTRAINT ck_transactions_bounds CHECK (held BETWEEN -9000000000000000000 AND 9000000000000000000 AND paid BETWEEN -9000000000000000000 AND 9000000000000000000 AND fee BETWEEN -9000000000000000000 AND 9000000000000000000), 
	CONSTRAINT fk_transactions_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id), 
	CONSTRAINT uq_transactions_job_id UNIQUE (job_id), 
	CONSTRAINT fk_transactions_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "transactions" VALUES('tx_06h2vfkm3f6renfc14k8af4ak8','credit','settled','account_06h2vfklredaq5picklb2g80f8',NULL,NULL,0,100000000000000,0,'',1.79609734914788079e+09,1.79609734914788079e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfkmtportojab5omdfsa5s','credit','settled','account_06h2vfkmtfal6i4bafq97ng348',NULL,NULL,0,100000000000000,0,'',1.79609734935849881e+09,1.79609734935849881e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfkvcgqj1kj87f8frjktd8','payment','settled','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfkvcgqj1kj87f8frjktd8',100000000,200000,20000,'',1.79609735152438712e+09,1.7960973522223103e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfl3kvgplggq4dlolndo2s','funding','settled','account_audits',NULL,NULL,0,1000000,0,'for audits',1.79609735297044181e+09,1.79609735297044181e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfl3kvbn9tg0it1177n35g','payment','settled','account_audits','miner_s4gp6a5hihf5ckm3ji25chrg7c','job_06h2vfl3kvbn9tg0it1177n35g',1000000,100000,10000,'',1.79609735297044181e+09,1.79609735317554426e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfl927hs9jkc14r9p08fes','payment','settled','account_06h2vfklredaq5picklb2g80f8','miner_3trb3cmjjx3navrd6v2rbc7nvb','job_06h2vfl927hs9jkc14r9p08fes',100000000,10000000,1000000,'',1.79609735400203299e+09,1.79609735456392693e+09);
INSERT INTO "transactions" VALUES('tx_06h2vflcahimahvqdn3t4s999c','payment','refunded','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflcahimahvqdn3t4s999c',100000000,0,0,'',1.79609735483654165e+09,1.79609735619410896e+09);
INSERT INTO "transactions" VALUES('tx_06h2vflclhuq0soss99es7qiuc','funding','settled','account_audits',NULL,NULL,0,39100000,0,'for audits',1.79609735547285127e+09,1.79609735547285127e+09);
INSERT INTO "transactions" VALUES('tx_06h2vflclhqm4cvlsaq5vhcvsg','payment','pending','account_audits',NULL,'job_06h2vflclhqm4cvlsaq5vhcvsg',40000000,0,0,'',1.79609735547285127e+09,NULL);
INSERT INTO "transactions" VALUES('tx_06h2vflip67abdv776grjjb734','payment','refunded','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflip67abdv776grjjb734',100000000,0,0,'',1.79609735648972702e+09,1.79609735659600782e+09);
INSERT INTO "transactions" VALUES('tx_06h2vfls5q5ct7i48tisrr0v3c','payout','pending','account_payouts','miner_3trb3cmjjx3navrd6v2rbc7nvb',NULL,9180000,0,0,'batch_06h2vflsnokjsaaubk23ioebm0',1.79609735889455533e+09,NULL);
INSERT INTO "transactions" VALUES('tx_06h2vflvebhksomlbkmg4p5920','payment','pending','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vflvebhksomlbkmg4p5920',100000000,0,0,'',1.79609735973106312e+09,NULL);
INSERT INTO "transactions" VALUES('tx_06h2vfm13pegsqp1r9b1gvl3gk','payment','pending','account_06h2vfklredaq5picklb2g80f8',NULL,'job_06h2vfm13pegsqp1r9b1gvl3gk',100000000,0,0,'',1.7960973601585009e+09,NULL);
CREATE TABLE upload_segments (
	upload_id VARCHAR(64) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	blob VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_upload_segments PRIMARY KEY (upload_id, start), 
	CONSTRAINT fk_upload_segments_upload_id FOREIGN KEY(upload_id) REFERENCES uploads (upload_id)
);
CREATE TABLE uploads (
	upload_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	length BIGINT, 
	received BIGINT NOT NULL, 
	metadata TEXT NOT NULL, 
	artifact_id VARCHAR(80), 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	turn INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_uploads PRIMARY KEY (upload_id), 
	CONSTRAINT fk_uploads_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
CREATE TABLE webhook_deliveries (
	webhook_id VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	url TEXT NOT NULL, 
	lane TEXT NOT NULL, 
	type VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_attempt_at FLOAT, 
	last_attempt_at FLOAT, 
	last_status INTEGER, 
	last_error TEXT, 
	finished_at FLOAT, 
	CONSTRAINT pk_webhook_deliveries PRIMARY KEY (webhook_id), 
	CONSTRAINT fk_webhook_deliveries_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id), 
	CONSTRAINT fk_webhook_deliveries_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "webhook_deliveries" VALUES('msg_06h2vfl927hs9jkc14r9p08fes','job_06h2vfl927hs9jkc14r9p08fes','account_06h2vfklredaq5picklb2g80f8','https://example.com/hook','account_06h2vfklredaq5picklb2g80f8 https://example.com','job.completed','{"type":"job.completed","timestamp":"2026-12-01T03:55:54.563Z","data":{"job_id":"job_06h2vfl927hs9jkc14r9p08fes","status":"completed","service_id":"whisper_transcription","labels":{"project":"podcast"}}}',1.79609735456392693e+09,'pending',2,4102444800.0,1.79609736229291343e+09,NULL,'There is no host example.com',NULL);
CREATE TABLE webhook_secrets (
	account_id VARCHAR(64) NOT NULL, 
	secret VARCHAR(100) NOT NULL, 
	created_at FLOAT NOT NULL, 
	previous VARCHAR(100), 
	previous_until FLOAT, 
	CONSTRAINT pk_webhook_secrets PRIMARY KEY (account_id), 
	CONSTRAINT fk_webhook_secrets_account_id FOREIGN KEY(account_id) REFERENCES accounts (account_id)
);
INSERT INTO "webhook_secrets" VALUES('account_06h2vfklredaq5picklb2g80f8','whsec_ewBej40qe3tCkeeDsiuQK8kG2dtYNv8g+H7kD+q47nM=',1796097354.77682,NULL,NULL);
CREATE INDEX ix_browser_sessions_expires_at ON browser_sessions (expires_at);
CREATE INDEX ix_challenges_expires_at ON challenges (expires_at);
CREATE INDEX ix_miners_enrolment ON miners (enrolment_id) WHERE enrolment_id IS NOT NULL;
CREATE UNIQUE INDEX ix_artifacts_blob ON artifacts (blob);
CREATE INDEX ix_direct_uploads_job_id ON direct_uploads (job_id);
CREATE UNIQUE INDEX ix_direct_uploads_blob ON direct_uploads (blob);
CREATE INDEX ix_direct_uploads_expires_at ON direct_uploads (expires_at);
CREATE INDEX ix_direct_uploads_unfinished ON direct_uploads (owner) WHERE state <> 'stored';
CREATE INDEX ix_events_miner ON events (miner_id, seq) WHERE miner_id IS NOT NULL;
CREATE INDEX ix_events_job ON events (job_id, seq) WHERE job_id IS NOT NULL;
CREATE INDEX ix_events_account ON events (account_id, seq);
CREATE INDEX ix_log_checkpoints_cosigned ON log_checkpoints (size) WHERE cosigned > 0;
CREATE INDEX ix_recent_work_miner ON recent_work (miner_id, part);
CREATE INDEX ix_recent_work_part ON recent_work (part);
CREATE INDEX ix_balances_recent ON balances (part) WHERE part >= 16;
CREATE INDEX ix_payout_batches_open ON payout_batches (batch_id) WHERE finished_at IS NULL;
CREATE INDEX ix_api_keys_account ON api_keys (account_id, key_id);
CREATE INDEX ix_logins_expires_at ON logins (expires_at);
CREATE INDEX ix_idempotency_created_at ON idempotency (created_at);
CREATE INDEX ix_miner_commands_waiting ON miner_commands (miner_id, command_id) WHERE executed_at IS NULL;
CREATE INDEX ix_miner_commands_miner ON miner_commands (miner_id, command_id);
CREATE INDEX ix_uploads_expires_at ON uploads (expires_at);
CREATE INDEX ix_uploads_unfinished ON uploads (account_id) WHERE finished_at IS NULL;
CREATE INDEX ix_jobs_account ON jobs (account_id, job_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_jobs_bound ON jobs (offer_id) WHERE state = 'submitted' AND offer_id IS NOT NULL;
CREATE INDEX ix_jobs_open_by_service ON jobs (service, state, job_id) WHERE finished_at IS NULL;
CREATE INDEX ix_jobs_service ON jobs (service, job_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_jobs_account_state ON jobs (account_id, state, job_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_jobs_submitted_by_service ON jobs (service, job_id) WHERE state = 'submitted';
CREATE INDEX ix_jobs_offer ON jobs (offer_id, job_id, account_id) WHERE offer_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_jobs_waiting_for_models ON jobs (service, model) WHERE state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL;
CREATE INDEX ix_jobs_not_notified ON jobs (created_at) WHERE state = 'submitted' AND missing_files IS NULL AND notified_at IS NULL;
CREATE INDEX ix_jobs_account_service ON jobs (account_id, service, job_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_jobs_ended_by_service ON jobs (service, state, job_id) WHERE finished_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_jobs_claimable_by_account ON jobs (service, account_id, priority DESC, job_id) WHERE state = 'submitted' AND missing_files IS NULL;
CREATE INDEX ix_jobs_ended_by_account ON jobs (account_id, service, state, job_id) WHERE finished_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_jobs_open_by_state ON jobs (state, job_id) WHERE finished_at IS NULL;
CREATE INDEX ix_jobs_leased_by ON jobs (lease_miner_id, job_id) WHERE lease_miner_id IS NOT NULL;
CREATE INDEX ix_jobs_account_name ON jobs (account_id, name, job_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_jobs_ended_by_state ON jobs (state, job_id) WHERE finished_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_jobs_miner ON jobs (miner_id, job_id, account_id) WHERE miner_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_jobs_waiting_for_files ON jobs (created_at) WHERE state = 'submitted' AND missing_files IS NOT NULL;
CREATE INDEX ix_jobs_claimable ON jobs (priority DESC, job_id) WHERE state = 'submitted' AND missing_files IS NULL;
CREATE INDEX ix_job_counts_waiting ON job_counts (service, account_id) WHERE state = 'submitted' AND count > 0;
CREATE INDEX ix_recent_job_counts_part ON recent_job_counts (part);
CREATE INDEX ix_recent_job_counts_submitted ON recent_job_counts (service, part, account_id) WHERE state = 'submitted';
CREATE INDEX ix_offers_expiry ON offers (expires_at) WHERE state = 'active';
CREATE INDEX ix_offers_cheapest_of_kind ON offers (kind, price, offer_id) WHERE state = 'active';
CREATE INDEX ix_offers_open_of_miner ON offers (miner_id) WHERE state = 'active';
CREATE INDEX ix_offers_cheapest ON offers (price, offer_id) WHERE state = 'active';
CREATE INDEX ix_offers_miner ON offers (miner_id, offer_id);
CREATE INDEX ix_miner_releases_pause_until ON miner_releases (pause_until);
CREATE INDEX ix_client_failures_count ON client_failures (count);
CREATE INDEX ix_payout_transfers_due ON payout_transfers (next_call_at) WHERE next_call_at IS NOT NULL;
CREATE INDEX ix_payout_transfers_batch_id ON payout_transfers (batch_id);
CREATE INDEX ix_gone_webhooks_gone_at ON gone_webhooks (gone_at);
CREATE INDEX ix_browser_session_keys_key_id ON browser_session_keys (key_id);
CREATE INDEX ix_audits_miner ON audits (miner_id, audit_id);
CREATE INDEX ix_audits_root ON audits (root, audit_id);
CREATE INDEX ix_audits_job ON audits (job_id);
CREATE INDEX ix_audits_unsettled ON audits (decided_at) WHERE decided_at IS NOT NULL AND settled_at IS NULL;
CREATE INDEX ix_audits_open ON audits (status, audit_id) WHERE decided_at IS NULL;
CREATE INDEX ix_audits_failed ON audits (miner_id, service, model) WHERE verdict = 'fail';
CREATE UNIQUE INDEX ix_upload_segments_blob ON upload_segments (blob);
CREATE INDEX ix_job_artifacts_artifact_id ON job_artifacts (artifact_id);
CREATE INDEX ix_run_outputs_miner_id ON run_outputs (miner_id);
CREATE INDEX ix_run_outputs_artifact_id ON run_outputs (artifact_id);
CREATE INDEX ix_job_checkpoints_artifact_id ON job_checkpoints (artifact_id);
CREATE INDEX ix_job_labels_account ON job_labels (account_id, "key", value, job_id);
CREATE INDEX ix_job_labels_value ON job_labels ("key", value, job_id);
CREATE INDEX ix_job_logs_created_at ON job_logs (created_at);
CREATE INDEX ix_runs_faults ON runs (miner_id, ended_at) WHERE outcome IN ('retried', 'expired');
CREATE INDEX ix_transactions_account ON transactions (account_id, tx_id);
CREATE INDEX ix_transactions_miner ON transactions (miner_id, tx_id) WHERE miner_id IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_job_id ON webhook_deliveries (job_id);
CREATE INDEX ix_webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (next_attempt_at, account_id, lane) WHERE state = 'pending';
CREATE INDEX ix_webhook_deliveries_lane ON webhook_deliveries (lane) WHERE state = 'pending';
CREATE INDEX ix_payouts_miner ON payouts (miner_id, payout_id);
CREATE INDEX ix_payouts_open ON payouts (batch_id, position) WHERE finished_at IS NULL;
CREATE INDEX ix_payouts_transfer_id ON payouts (transfer_id);
CREATE INDEX ix_deposits_account_id ON deposits (account_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',47);
COMMIT;
