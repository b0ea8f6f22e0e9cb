INSERT INTO visits (id, at, n) VALUES (1, '2024-01-01', 1), (2, '2024-01-07 23:59:59.999', 2), (3, '2024-01-08', 3), (4, '2024-1-15 10:00', 4), (5, '20240122', 5), (6, 20240128235959, 6), (7, DATE '2024-01-09', 7), (8, TIMESTAMP '2024-01-10 12:30:00.5', 8);
INSERT INTO guests (visit, at, name) VALUES (1, '2024-01-01', 'a'), (3, '2024-01-08', 'b'), (3, '2024-01-09', 'c'), (7, '2024-01-09', 'd');
INSERT INTO dates (day, n) VALUES ('2023-12-31', 1), ('2024-01-01', 2), ('2024-03-31', 4);
INSERT INTO dates (day, n) VALUES ('2024-02-29 10:00:00', 3);
SELECT id, at, n FROM visits ORDER BY id;
SELECT id FROM visits WHERE at = '2024-01-08';
SELECT id FROM visits WHERE at = '2024-01-08 00:00:00.000';
SELECT id FROM visits WHERE at = DATE '2024-01-08';
SELECT id FROM visits WHERE at = TIMESTAMP '2024-01-08 00:00:00';
SELECT id FROM visits WHERE at = 20240108;
SELECT id FROM visits WHERE at IN ('2024-01-01', '2024-01-22', '2031-01-01');
SELECT id FROM visits WHERE at IN ('2024-01-01', 20240122);
SELECT id FROM visits WHERE at BETWEEN '2024-01-07' AND '2024-01-08' ORDER BY id;
SELECT id FROM visits WHERE at BETWEEN '2024-01-08' AND NOW() ORDER BY id;
SELECT id FROM visits WHERE at >= '2024-01-08' AND at < '2024-01-15' ORDER BY id;
SELECT id FROM visits WHERE at > '2024-01-07 23:59:59.998' ORDER BY id LIMIT 3;
SELECT id FROM visits WHERE at < '2024-01-08' ORDER BY id DESC;
SELECT id FROM visits WHERE at < '2023-12-31' OR at >= '2024-01-29';
SELECT id FROM visits WHERE at = '2023-12-31';
SELECT id FROM visits WHERE at IS NULL;
SELECT id FROM visits WHERE NOT at = '2024-01-08' ORDER BY id;
SELECT id FROM visits WHERE at = '2024-01-08' AND n = 4;
SELECT v.id, g.name FROM visits v JOIN guests g ON g.at = v.at AND g.visit = v.id WHERE v.at = '2024-01-08';
SELECT v.id, g.name FROM visits v LEFT JOIN guests g ON g.at = v.at WHERE v.at = '2024-01-09 00:00:00' ORDER BY g.name;
SELECT v.id, g.name FROM visits v JOIN guests g USING (at) ORDER BY v.id, g.name;
SELECT day FROM dates WHERE day = '2024-02-29';
SELECT day FROM dates WHERE day = '2024-02-29 10:00:00';
SELECT day FROM dates WHERE day >= '2024-01-01 00:00:01' ORDER BY day;
SELECT day FROM dates WHERE day <= '2024-01-01' ORDER BY day;
UPDATE visits SET n = n + 10 WHERE at = '2024-01-08';
UPDATE visits SET n = n + 100 WHERE at >= '2024-01-08' AND at < '2024-01-22';
UPDATE visits SET n = 0 WHERE at = '2040-01-01';
UPDATE visits SET at = '2024-01-08 10:00:00' WHERE at = '2024-01-08 00:00:00';
-- refused SHD1215
UPDATE visits SET at = '2024-01-09 10:00:00' WHERE at = '2024-01-08 10:00:00';
-- refused SHD1215
UPDATE visits SET at = '2024-01-15' WHERE id = 3;
SELECT id, at, n FROM visits ORDER BY id;
INSERT INTO dates (day, n) VALUES ('2024-01-01', 9);
INSERT INTO dates (day, n) VALUES ('2024-01-01', 9) ON DUPLICATE KEY UPDATE n = n + 1;
REPLACE INTO dates (day, n) VALUES ('2024-03-31', 40);
INSERT IGNORE INTO dates (day, n) VALUES ('2024-03-31', 41);
SELECT day, n FROM dates ORDER BY day;
-- refused SHD1231
INSERT INTO visits (id, at) VALUES (20, NOW());
-- refused SHD1231
INSERT INTO visits (id, at) VALUES (20, '2024-02-30');
-- refused SHD1231
INSERT IGNORE INTO visits (id, at) VALUES (20, '0000-00-00');
-- refused SHD1230
INSERT INTO visits (id, at) VALUES (20, NULL);
-- refused SHD1238
INSERT INTO visits (id, at) VALUES (20, '2023-12-31 23:59:59.999');
-- refused SHD1238
INSERT INTO visits (id, at) VALUES (20, '2024-01-29');
DELETE FROM visits WHERE at BETWEEN '2024-01-08' AND '2024-01-14';
DELETE FROM visits WHERE at = '2024-01-22' OR at = '2024-01-01';
DELETE FROM guests WHERE at = '1999-01-01';
SELECT id FROM visits ORDER BY id;
