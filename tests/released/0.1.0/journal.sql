PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE journal_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT journal_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO journal_version VALUES('0001');
CREATE TABLE messages (
	id VARCHAR(64) NOT NULL, 
	time BIGINT NOT NULL, 
	login TEXT NOT NULL, 
	account TEXT NOT NULL, 
	envelope TEXT NOT NULL, 
	recipient TEXT NOT NULL, 
	recipient_lower TEXT NOT NULL, 
	queue_id TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	properties TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	decisions TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO messages VALUES('ae33da6fa4df5df1d8',1795396417,'2392e911dd0fecf1abb04ffc58854cbe','shop','news@example.com','anna@example.net','anna@example.net','4jXny92wtVzRfCq','<4jXny92wtVzRfCq@mail.example.com>','["trackclicks","trackopens"]','["spring"]','[["inlinecss","off","login",""],["trackclicks","applied","login",""],["trackopens","applied","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
INSERT INTO messages VALUES('7ff3bf9efbb103b9f8',1795396417,'2392e911dd0fecf1abb04ffc58854cbe','shop','news@example.com','anna@example.net','anna@example.net','4jXny93gKHzRfCq','<4jXny93gKHzRfCq@mail.example.com>','["trackclicks","trackopens"]','["spring"]','[["inlinecss","off","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
INSERT INTO messages VALUES('1d468401ffd7a385d8',1795396417,'2392e911dd0fecf1abb04ffc58854cbe','shop','news@example.com','bob@example.org','bob@example.org','4jXny93gKHzRfCq','<4jXny93gKHzRfCq@mail.example.com>','["trackclicks","trackopens"]','["spring"]','[["inlinecss","off","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
INSERT INTO messages VALUES('0c86bce6cafb86b685',1795396417,'42778163c3628521b0899cc2bb4c1fe2','shop','news@example.com','anna@example.net','anna@example.net','4jXny95750zRfD8','<4jXny95750zRfD8@mail.example.com>','["inlinecss"]','["spring"]','[["inlinecss","skipped","rule","no style sheet"],["trackclicks","off","login",""],["trackopens","off","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
CREATE TABLE copies (
	id VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	time BIGINT NOT NULL, 
	queue_id TEXT NOT NULL, 
	decisions TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO copies VALUES('1a205f73792dfd94083-299','7ff3bf9efbb103b9f8',1795396417,'4jXny941NlzRfCx','[["inlinecss","off","login",""],["trackclicks","applied","login",""],["trackopens","applied","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
INSERT INTO copies VALUES('1a205f737f6e45e4ff9-3a9','1d468401ffd7a385d8',1795396417,'4jXny944lSzRfCy','[["inlinecss","off","login",""],["trackclicks","applied","login",""],["trackopens","applied","login",""],["trackbounces","off","login",""],["preventscam","off","login",""],["images","off","login",""]]');
CREATE TABLE visits (
	id VARCHAR(64) NOT NULL, 
	kind TEXT NOT NULL, 
	message TEXT NOT NULL, 
	time BIGINT NOT NULL, 
	number BIGINT NOT NULL, 
	url TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	ip TEXT NOT NULL, 
	protocol TEXT NOT NULL, 
	headers TEXT NOT NULL, 
	machine BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO visits VALUES('1a205f7393465e909fe-c','click','ae33da6fa4df5df1d8',1795396417,1,'http://clicks.example.com/offer-AHRLZsjm9I4kH5iUGEcut1lZpDQaZzpNIe4ZsqPlqNQ7UDIsXcfQ1LUD?a=1','https://www.example.com/offer?a=1#top','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-16b','click','ae33da6fa4df5df1d8',1795396417,2,'http://clicks.example.com/-AOWBf6AguPzRP4TvtUoQmqD2TbSTnxLeGhVDKWk7QUsSTgYLe4WN','https://www.example.org/','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-2b0','open','ae33da6fa4df5df1d8',1795396417,0,'http://clicks.example.com/o/ACZsfwGHPagpBu4rGhYDlVwotS1ZsJoVwVOSc.gif','','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-3d2','click','7ff3bf9efbb103b9f8',1795396417,1,'http://clicks.example.com/offer-AHqoDWmISIWwGaKY1nB8Ra0vUtFb5aKJRdTNgDXZzHLQjzeh4Q6Jh?a=1','https://www.example.com/offer?a=1#top','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-52e','click','7ff3bf9efbb103b9f8',1795396417,2,'http://clicks.example.com/-AIXn2WuQqEDAwSd3bb0qRf8ZsOZscZzIYuxAiwbLuPJqfZp8HgbUq3ya','https://www.example.org/','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-682','open','7ff3bf9efbb103b9f8',1795396417,0,'http://clicks.example.com/o/AAbgKWehruKBuUUlxbQ6eHGm2kGtRbSYCOY.gif','','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-7a2','click','1d468401ffd7a385d8',1795396417,1,'http://clicks.example.com/offer-AHprEtJhdXSSM7TkjxBdwSDLQlZsbyNpVQMmTxdd0Xi7psmR5ZzIeZz?a=1','https://www.example.com/offer?a=1#top','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-900','click','1d468401ffd7a385d8',1795396417,2,'http://clicks.example.com/-ABEpRhfF9FbdLkZpZp9GbSUQeGJlh0gdmL4fLWB6wiWkvnBdx1soZpa','https://www.example.org/','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
INSERT INTO visits VALUES('1a205f7393465e909fe-a48','open','1d468401ffd7a385d8',1795396417,0,'http://clicks.example.com/o/AEZzFMe5MDojDneLkchKGejlKrQpDnQmHFG0.gif','','127.0.0.0','http',replace('Accept-Encoding: identity\nHost: clicks.example.com\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\nAccept: text/html','\n',char(10)),0);
CREATE TABLE disabled_links (
	digest VARCHAR(64) NOT NULL, 
	destination TEXT NOT NULL, 
	since BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE segments (
	id VARCHAR(64) NOT NULL, 
	drained BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_messages_time ON messages (time);
CREATE INDEX ix_messages_account_time ON messages (account, time);
CREATE INDEX ix_messages_queue_id ON messages (queue_id);
CREATE INDEX ix_messages_message_id ON messages (message_id);
CREATE INDEX ix_messages_recipient_lower ON messages (recipient_lower);
CREATE INDEX ix_copies_message ON copies (message);
CREATE INDEX ix_copies_queue_id ON copies (queue_id);
CREATE INDEX ix_copies_time ON copies (time);
CREATE INDEX ix_visits_message ON visits (message);
CREATE INDEX ix_visits_time ON visits (time);
CREATE INDEX ix_visits_destination ON visits (destination);
COMMIT;
