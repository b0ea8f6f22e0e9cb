INSERT INTO users (id, name) VALUES (1, 'one');
INSERT INTO users (id, name) VALUES (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');
INSERT INTO users (id, name, email) VALUES (6, 'six', 'e'), (7, 'seven', DEFAULT), (8, 'eight', UPPER('x'));
INSERT INTO users (id, name) VALUES (1, 'again');
INSERT INTO users (id, name) VALUES (20, 'new'), (1, 'again');
SELECT id FROM users WHERE id = 20;
INSERT INTO users (id, name) VALUES (9, NULL);
INSERT INTO users (id, name) VALUES (9, NULL), (10, 'x');
INSERT INTO users (id) VALUES (9);
INSERT INTO users (id, nonsense) VALUES (9, 1);
INSERT INTO nowhere (id) VALUES (9);
INSERT INTO users (id, name) VALUES (9);
INSERT INTO users (id, name) VALUES (9, 'x'), (10);
INSERT INTO users (id, name) VALUES (9, REPEAT('x', 61));
INSERT IGNORE INTO users (id, name) VALUES (9, REPEAT('x', 61));
INSERT INTO users (id, name, born) VALUES (11, 'x', '2024-02-30');
INSERT INTO users (id, name, balance) VALUES (11, 'x', 1e20);
INSERT IGNORE INTO users (id, name, balance) VALUES (11, 'x', 1e20);
INSERT IGNORE INTO users (id, name) VALUES (1, 'dup'), (12, 'fresh');
INSERT IGNORE INTO users (id, name) VALUES (1, 'dup'), (2, 'dup'), (13, 'fresh');
INSERT INTO users (id, name) VALUES (1, 'x') ON DUPLICATE KEY UPDATE name = 'updated';
INSERT INTO users (id, name) VALUES (1, 'updated') ON DUPLICATE KEY UPDATE name = 'updated';
INSERT INTO users (id, name) VALUES (1, 'v') ON DUPLICATE KEY UPDATE name = VALUES(name);
INSERT INTO users (id, name) VALUES (1, 'v'), (2, 'w'), (14, 'z') ON DUPLICATE KEY UPDATE name = CONCAT(name, '!');
INSERT INTO users SET id = 15, name = 'set';
-- refused SHD1231
INSERT INTO users () VALUES ();
INSERT LOW_PRIORITY INTO users VALUES (16, 'all', NULL, 1, 0, NULL);
INSERT INTO users VALUES (17, 'few');
REPLACE INTO users (id, name) VALUES (1, 'replaced');
REPLACE INTO users (id, name) VALUES (1, 'replaced'), (18, 'new'), (19, 'new');
REPLACE INTO users SET id = 2, name = 'replaced';
UPDATE users SET name = 'u' WHERE id = 1;
UPDATE users SET name = 'u' WHERE id = 1;
UPDATE users SET name = 'u', email = 'm' WHERE id IN (1, 2, 3);
UPDATE users SET name = NULL WHERE id = 1;
UPDATE users SET name = NULL;
UPDATE users SET nonsense = 1 WHERE id = 1;
UPDATE users SET name = REPEAT('y', 70) WHERE id = 1;
UPDATE IGNORE users SET name = REPEAT('y', 70) WHERE id = 1;
UPDATE users SET id = 1, name = 'same' WHERE id = 1;
UPDATE users SET id = '1', name = 'same again' WHERE id = 1;
UPDATE users SET balance = balance * 2 + id;
UPDATE users SET balance = 1 WHERE id BETWEEN 3 AND 8;
UPDATE users SET balance = 2 WHERE name = 'new' OR id = 4;
UPDATE users SET balance = balance / 0 WHERE id = 3;
UPDATE users SET balance = 'x' WHERE id = 3;
UPDATE users SET balance = 3 WHERE id = 9999;
UPDATE users SET balance = 3 WHERE id = NULL;
UPDATE users SET balance = 4 ORDER BY id;
DELETE FROM users WHERE id = 9999;
DELETE FROM users WHERE id IN (18, 19, 9999);
DELETE FROM users WHERE id > 14 AND id < 17;
DELETE FROM users WHERE nonsense = 1;
DELETE QUICK FROM users WHERE id = 14;
-- refused SHD1215
UPDATE users SET id = 99 WHERE id = 1;
-- refused SHD1215
UPDATE users SET id = id WHERE id = 1;
-- refused SHD1215
UPDATE users SET id = 1;
-- refused SHD1215
UPDATE users SET id = 5, id = 9 WHERE id = 5;
-- refused SHD1230
INSERT INTO users (id, name) VALUES (NULL, 'x');
-- refused SHD1231
INSERT INTO users (id, name) VALUES (5 + 5, 'x');
-- refused SHD1214
INSERT INTO users (name) VALUES ('x');
-- refused SHD1215
INSERT INTO users (id, name) VALUES (1, 'x') ON DUPLICATE KEY UPDATE id = 7;
-- refused SHD1213
INSERT INTO users (id, name) SELECT id, name FROM regions;
-- refused SHD1210
DELETE FROM users ORDER BY id LIMIT 1;
-- refused SHD1212
TRUNCATE TABLE users;
SELECT * FROM users ORDER BY id;
INSERT INTO settings (name, value) VALUES ('a', '1');
INSERT INTO settings (name, value) VALUES ('b', '1'), ('c', '2'), ('d', '3');
SELECT LAST_INSERT_ID();
INSERT INTO settings (name, value) VALUES ('a', '1');
SELECT LAST_INSERT_ID();
INSERT IGNORE INTO settings (name, value) VALUES ('a', '1'), ('e', '1');
INSERT INTO settings (name, value) VALUES ('a', '9') ON DUPLICATE KEY UPDATE value = '9', id = LAST_INSERT_ID(id);
SELECT LAST_INSERT_ID();
SELECT LAST_INSERT_ID() + 1, name FROM settings WHERE id = LAST_INSERT_ID();
SELECT @@last_insert_id, @@identity;
UPDATE settings SET value = 'z' WHERE name IN ('a', 'b');
REPLACE INTO settings (id, name, value) VALUES (1, 'a', 'r');
INSERT INTO settings (name, value) SELECT CONCAT(name, '-2'), value FROM settings;
SELECT name, value FROM settings ORDER BY name;
INSERT INTO regions VALUES (1, 'n'), (2, 's');
INSERT INTO regions VALUES (2, 's'), (3, 'w');
UPDATE regions SET name = 'x';
UPDATE regions SET name = 'x' WHERE id = 1;
DELETE FROM regions WHERE id = 2;
SELECT * FROM regions ORDER BY id;
DELETE FROM users;
