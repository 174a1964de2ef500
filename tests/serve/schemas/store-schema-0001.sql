CREATE TABLE account (
	name VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	token_digest VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (name), 
	CONSTRAINT uq_account_token_digest UNIQUE (token_digest)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	time DATETIME NOT NULL, 
	user VARCHAR(64) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	detail JSON NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE counter_sample (
	id INTEGER NOT NULL, 
	time DATETIME NOT NULL, 
	stage VARCHAR(64) NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	reason VARCHAR(255) NOT NULL, 
	unit VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE device (
	id VARCHAR(16) NOT NULL, 
	merged_into VARCHAR(16), 
	first_seen DATETIME NOT NULL, 
	last_seen DATETIME NOT NULL, 
	due DATETIME, 
	flows BIGINT NOT NULL, 
	octets BIGINT NOT NULL, 
	name VARCHAR(1024) NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	address_order VARCHAR(40) NOT NULL, 
	mac VARCHAR(17) NOT NULL, 
	network VARCHAR(64) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	vendor VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	statement VARCHAR(1024) NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	score FLOAT NOT NULL, 
	octets_a_day FLOAT, 
	pinned BOOLEAN NOT NULL, 
	unusual BOOLEAN NOT NULL, 
	ignored BOOLEAN NOT NULL, 
	provisional BOOLEAN NOT NULL, 
	judged DATETIME, 
	changed DATETIME, 
	words TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(merged_into) REFERENCES device (id)
);
CREATE TABLE device_group (
	id VARCHAR(16) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	shares JSON NOT NULL, 
	first_seen DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE device_key (
	id INTEGER NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	value VARCHAR(1024) NOT NULL, 
	first DATETIME NOT NULL, 
	last DATETIME NOT NULL, 
	by_user BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id), 
	CONSTRAINT uq_device_key_kind UNIQUE (kind, value, device)
);
CREATE TABLE event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	time DATETIME NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	data JSON NOT NULL
);
CREATE TABLE exporter (
	address VARCHAR(64) NOT NULL, 
	port INTEGER NOT NULL, 
	transport VARCHAR(8) NOT NULL, 
	first_seen DATETIME NOT NULL, 
	last_seen DATETIME NOT NULL, 
	messages BIGINT NOT NULL, 
	records BIGINT NOT NULL, 
	gaps BIGINT NOT NULL, 
	detail JSON NOT NULL, 
	PRIMARY KEY (address, port, transport)
);
CREATE TABLE feedback (
	id INTEGER NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	text TEXT NOT NULL, 
	user VARCHAR(64) NOT NULL, 
	time DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id)
);
CREATE TABLE group_member (
	"group" VARCHAR(16) NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	PRIMARY KEY ("group", device), 
	FOREIGN KEY(device) REFERENCES device (id), 
	FOREIGN KEY("group") REFERENCES device_group (id)
);
CREATE TABLE identity_fact (
	id INTEGER NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	fact VARCHAR(32) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	source VARCHAR(255) NOT NULL, 
	first DATETIME, 
	last DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id), 
	CONSTRAINT uq_identity_fact_device UNIQUE (device, fact, value, source)
);
CREATE TABLE label (
	id INTEGER NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	vendor VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	user VARCHAR(64) NOT NULL, 
	time DATETIME NOT NULL, 
	removed DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id)
);
CREATE TABLE meta (
	name VARCHAR(64) NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE source (
	name VARCHAR(1024) NOT NULL, 
	segment BIGINT NOT NULL, 
	clock DATETIME, 
	PRIMARY KEY (name)
);
CREATE TABLE traffic (
	hour DATETIME NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	octets BIGINT NOT NULL, 
	PRIMARY KEY (hour, kind)
);
CREATE TABLE verdict (
	device VARCHAR(16) NOT NULL, 
	time DATETIME NOT NULL, 
	document JSON NOT NULL, 
	candidate JSON, 
	statement VARCHAR(1024) NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	score FLOAT NOT NULL, 
	library VARCHAR(255) NOT NULL, 
	source VARCHAR(1024) NOT NULL, 
	segment BIGINT NOT NULL, 
	PRIMARY KEY (device), 
	FOREIGN KEY(device) REFERENCES device (id)
);
CREATE TABLE verdict_change (
	id INTEGER NOT NULL, 
	device VARCHAR(16) NOT NULL, 
	time DATETIME NOT NULL, 
	"before" VARCHAR(1024) NOT NULL, 
	"after" VARCHAR(1024) NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	score FLOAT NOT NULL, 
	reason TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	library VARCHAR(255) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id)
);
CREATE TABLE watched_file (
	source VARCHAR(1024) NOT NULL, 
	path VARCHAR(4096) NOT NULL, 
	octets BIGINT NOT NULL, 
	modified_ns BIGINT NOT NULL, 
	time DATETIME NOT NULL, 
	message TEXT NOT NULL, 
	PRIMARY KEY (source, path)
);
CREATE TABLE web_session (
	digest VARCHAR(64) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	csrf VARCHAR(64) NOT NULL, 
	expires DATETIME NOT NULL, 
	PRIMARY KEY (digest), 
	FOREIGN KEY(account) REFERENCES account (name)
);
CREATE INDEX ix_audit_device ON audit (device);
CREATE INDEX ix_audit_time ON audit (time);
CREATE INDEX ix_counter_sample_time ON counter_sample (time);
CREATE INDEX ix_device_address_order ON device (address_order);
CREATE INDEX ix_device_changed ON device (changed);
CREATE INDEX ix_device_due ON device (due);
CREATE INDEX ix_device_first_seen ON device (first_seen);
CREATE INDEX ix_device_key_device ON device_key (device);
CREATE INDEX ix_device_key_value ON device_key (kind, value);
CREATE INDEX ix_device_kind ON device (kind);
CREATE INDEX ix_device_last_seen ON device (last_seen);
CREATE INDEX ix_device_merged_into ON device (merged_into);
CREATE INDEX ix_device_name ON device (name);
CREATE INDEX ix_device_network ON device (network);
CREATE INDEX ix_device_octets_a_day ON device (octets_a_day);
CREATE INDEX ix_device_score ON device (score);
CREATE INDEX ix_device_statement ON device (statement);
CREATE INDEX ix_device_vendor ON device (vendor);
CREATE INDEX ix_feedback_device ON feedback (device);
CREATE INDEX ix_identity_fact_device ON identity_fact (device);
CREATE INDEX ix_label_device ON label (device);
CREATE INDEX ix_verdict_change_device ON verdict_change (device);
CREATE INDEX ix_web_session_expires ON web_session (expires);
