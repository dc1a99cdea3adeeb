PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE alembic_version_usage (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_usage_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version_usage VALUES('0001');
CREATE TABLE counters (
	subject VARCHAR(80) NOT NULL, 
	minute INTEGER NOT NULL, 
	messages INTEGER NOT NULL, 
	recipients INTEGER NOT NULL, 
	PRIMARY KEY (subject, minute)
);
INSERT INTO counters VALUES('login 2392e911dd0fecf1abb04ffc58854cbe',29923273,2,3);
CREATE TABLE sessions (
	id VARCHAR(64) NOT NULL, 
	login VARCHAR(64) NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	owner VARCHAR(128) NOT NULL, 
	renewed BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE uses (
	login VARCHAR(64) NOT NULL, 
	password INTEGER NOT NULL, 
	time BIGINT NOT NULL, 
	address VARCHAR(45) NOT NULL, 
	mechanism VARCHAR(20) NOT NULL, 
	client VARCHAR(255) NOT NULL, 
	PRIMARY KEY (login, password)
);
INSERT INTO uses VALUES('2392e911dd0fecf1abb04ffc58854cbe',1,1795396417,'127.0.0.1','PLAIN','client.example.com');
INSERT INTO uses VALUES('42778163c3628521b0899cc2bb4c1fe2',2,1795396417,'127.0.0.1','PLAIN','client.example.com');
CREATE TABLE places (
	login VARCHAR(64) NOT NULL, 
	place VARCHAR(64) NOT NULL, 
	first BIGINT NOT NULL, 
	last BIGINT NOT NULL, 
	PRIMARY KEY (login, place)
);
INSERT INTO places VALUES('2392e911dd0fecf1abb04ffc58854cbe','127.0.0.1',1795396417,1795396417);
INSERT INTO places VALUES('42778163c3628521b0899cc2bb4c1fe2','127.0.0.1',1795396417,1795396417);
CREATE INDEX ix_counters_minute ON counters (minute);
CREATE INDEX ix_sessions_login ON sessions (login);
CREATE INDEX ix_sessions_owner ON sessions (owner);
CREATE INDEX ix_sessions_account ON sessions (account);
CREATE INDEX ix_places_last ON places (last);
COMMIT;
