INSERT INTO users (id, name, region_id, balance) VALUES (1, 'a', 1, 1), (2, 'b', 2, 2), (3, 'c', 3, 3), (4, 'd', 1, 4), (5, 'e', 9, 5), (6, 'f', 2, 6), (7, 'g', 1, 7), (8, 'h', 2, 8);
INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3), (4, 5, 4), (5, 5, 5), (6, 6, 6), (7, 8, 7), (10, 99, 8);
INSERT INTO regions VALUES (1, 'north'), (2, 'south'), (3, 'west'), (4, 'east');
SELECT u.id, o.id FROM users u JOIN orders o ON o.user_id = u.id ORDER BY o.id;
SELECT u.id, o.id FROM users u INNER JOIN orders o ON u.id = o.user_id AND o.amount > 2 ORDER BY o.id;
SELECT u.id, o.id FROM users u STRAIGHT_JOIN orders o ON u.id = o.user_id ORDER BY o.id;
SELECT users.id, orders.id FROM users, orders WHERE orders.user_id = users.id AND users.id IN (1, 5) ORDER BY orders.id;
SELECT o.id FROM users u JOIN orders o ON o.user_id = u.id ORDER BY id;
SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.user_id = u.id ORDER BY u.id, o.id;
SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.user_id = u.id AND u.id = 5 ORDER BY u.id, o.id;
SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE o.id IS NULL ORDER BY u.id;
SELECT u.id, o.id FROM users u RIGHT JOIN orders o ON o.user_id = u.id ORDER BY o.id;
SELECT u.id, o.id FROM orders o LEFT JOIN (users u JOIN users v ON v.id = u.id AND u.id = 5) ON u.id = o.user_id ORDER BY o.id;
SELECT u.id, o.id FROM users u JOIN users v ON v.id = u.id AND u.id = 5 RIGHT JOIN orders o ON o.user_id = u.id ORDER BY o.id;
SELECT o.id, v.name FROM orders o LEFT JOIN users u ON u.id = o.user_id JOIN users v ON v.id = o.user_id AND v.id = 5 ORDER BY o.id;
SELECT a.id, b.id, c.id FROM users a LEFT JOIN orders b ON b.user_id = a.id LEFT JOIN orders c ON c.user_id = a.id AND c.id > b.id ORDER BY a.id, b.id, c.id;
SELECT u.id, v.name FROM users u JOIN users v USING (id) ORDER BY u.id;
SELECT id, v.name FROM users u JOIN users v USING (id) WHERE id = 5;
SELECT u.id, r.name FROM users u JOIN regions r ON r.id = u.region_id ORDER BY u.id;
SELECT r.name, u.id FROM regions r JOIN users u ON r.id = u.region_id WHERE u.id IN (1, 2, 3) ORDER BY u.id;
SELECT u.id, r.name, o.id FROM users u JOIN regions r ON r.id = u.region_id JOIN orders o ON o.user_id = u.id ORDER BY o.id;
SELECT u.id, r.name FROM users u LEFT JOIN regions r ON r.id = u.region_id WHERE u.id = 5;
SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id AND o.amount > 3) ORDER BY id;
SELECT id FROM users u WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id) ORDER BY id;
SELECT id, (SELECT COUNT(*) FROM orders o WHERE o.user_id = users.id) FROM users ORDER BY id;
SELECT id FROM users WHERE region_id IN (SELECT id FROM regions WHERE name < 'o') ORDER BY id;
SELECT id FROM users u WHERE u.id = 5 AND u.id IN (SELECT user_id FROM orders WHERE user_id = 5);
SELECT * FROM (SELECT id, name FROM users WHERE id = 5) d;
SELECT COUNT(*) FROM users WHERE id = 5 AND region_id NOT IN (SELECT id FROM regions);
SELECT u.id, COUNT(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.id = 1 GROUP BY u.id;
SELECT id FROM users WHERE id = 1 UNION ALL SELECT id FROM orders WHERE user_id = 1 ORDER BY 1;
WITH c AS (SELECT id FROM users WHERE id = 1) SELECT * FROM c;
SELECT SUM(amount) OVER (ORDER BY id) FROM orders WHERE user_id = 5 ORDER BY id;
-- refused SHD1222
SELECT name FROM regions r WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.region_id = r.id);
-- refused SHD1222
SELECT name FROM regions WHERE id IN (SELECT region_id FROM users);
-- refused SHD1222
SELECT (SELECT MAX(id) FROM users);
-- refused SHD1202
SELECT u.id FROM users u JOIN orders o ON o.amount > 3 LEFT JOIN orders c ON c.user_id = u.id AND u.id = o.user_id;
-- refused SHD1202
SELECT u.id FROM users u JOIN orders o ON o.amount > 3 LEFT JOIN orders c ON c.user_id = u.id AND c.user_id = o.user_id;
-- refused SHD1202
SELECT w.id FROM users u JOIN users v USING (id), users w;
-- refused SHD1202
SELECT u.id FROM users u, orders o;
-- refused SHD1202
SELECT u.id FROM users u JOIN users v ON u.id = v.region_id;
-- refused SHD1208
SELECT u.id, r.name FROM regions r LEFT JOIN users u ON r.id = u.region_id;
-- refused SHD1201
SELECT u.id FROM users u JOIN settings s ON s.id = u.id WHERE u.id = 1;
-- refused SHD1215
UPDATE users u JOIN orders o ON o.user_id = u.id SET o.user_id = 7 WHERE u.id = 5;
UPDATE users u JOIN orders o ON o.user_id = u.id SET u.name = 'joined', o.note = 'x' WHERE o.amount > 4;
DELETE o FROM orders o JOIN users u ON u.id = o.user_id WHERE u.name = 'joined';
DELETE FROM orders WHERE EXISTS (SELECT 1 FROM users WHERE users.id = orders.user_id AND users.region_id = 1);
UPDATE users SET balance = (SELECT COUNT(*) FROM orders WHERE orders.user_id = users.id);
SELECT id, name, balance FROM users ORDER BY id;
SELECT id, user_id, note FROM orders ORDER BY id;
