// SPDX-License-Identifier: Apache-2.0
// Ordinary work with pgjdbc. Usage: java -cp postgresql.jar:DIR Jdbc jdbc:postgresql://…
// Prints one deterministic line for each thing that it saw.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    static String url;

    static void say(Object... parts) {
        StringBuilder line = new StringBuilder();
        for (Object p : parts)
            line.append(line.length() == 0 ? "" : " | ").append(p);
        System.out.println(line);
    }

    static String digest(byte[] data) throws Exception {
        byte[] d = MessageDigest.getInstance("SHA-256").digest(data);
        return HexFormat.of().formatHex(d).substring(0, 16);
    }

    static void error(String what, SQLException e) {
        say("error", what, e.getSQLState(), e.getMessage().replace('\n', ' '));
    }

    static void rows(String what, ResultSet rs) throws Exception {
        ResultSetMetaData m = rs.getMetaData();
        int n = 0;
        StringBuilder all = new StringBuilder();
        while (rs.next()) {
            for (int i = 1; i <= m.getColumnCount(); i++)
                all.append(rs.getString(i)).append(',');
            all.append(';');
            n++;
        }
        String shown = all.length() < 400 ? all.toString() : digest(all.toString().getBytes(StandardCharsets.UTF_8));
        say(what, n, shown);
        rs.close();
    }

    static void setup(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("DROP TABLE IF EXISTS jdbc_child, jdbc_items");
            s.execute("CREATE TABLE jdbc_items (id serial PRIMARY KEY, name text NOT NULL UNIQUE, qty int CHECK (qty >= 0),"
                + " price numeric(12,4), tags text[], made timestamptz, raw bytea, flag boolean)");
            s.execute("CREATE TABLE jdbc_child (item int REFERENCES jdbc_items, note text)");
            s.execute("CREATE INDEX jdbc_by_price ON jdbc_items (price, qty)");
        }
        say("setup", c.getMetaData().getDatabaseProductName(), c.getMetaData().getDatabaseMajorVersion());
    }

    static void statements(Connection c) throws Exception {
        try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_items (name, qty, price, tags, raw, flag) VALUES (?,?,?,?,?,?)",
                                                      Statement.RETURN_GENERATED_KEYS)) {
            p.setString(1, "grüße ☃");
            p.setInt(2, 5);
            p.setBigDecimal(3, new BigDecimal("12.5000"));
            p.setArray(4, c.createArrayOf("text", new String[] {"a", null, "q\"uo"}));
            p.setBytes(5, new byte[] {0, 1, (byte) 255});
            p.setBoolean(6, true);
            say("insert", p.executeUpdate());
            rows("generated", p.getGeneratedKeys());
        }
        for (String mode : new String[] {"first", "second"})
            try (PreparedStatement p = c.prepareStatement("SELECT *, ?::text AS mode FROM jdbc_items WHERE id = ?")) {
                for (int i = 0; i < 8; i++) { // past prepareThreshold: named, then binary
                    p.setString(1, mode);
                    p.setInt(2, 1);
                    try (ResultSet rs = p.executeQuery()) {
                        rs.next();
                        if (i == 0 || i == 7)
                            say("row", rs.getInt("id"), rs.getString("name"), rs.getInt("qty"), rs.getBigDecimal("price"),
                                Arrays.toString((Object[]) rs.getArray("tags").getArray()), digest(rs.getBytes("raw")),
                                rs.getTimestamp("made"), rs.getBoolean("flag"), rs.getString("mode"));
                    }
                }
            }
        try (Statement s = c.createStatement()) {
            boolean more = s.execute("SELECT 1; UPDATE jdbc_items SET qty = qty WHERE false; SELECT 'three'");
            say("several", more, s.getMoreResults(), s.getUpdateCount(), s.getMoreResults());
            rows("third", s.getResultSet());
        }
        try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
            ResultSet rs = s.executeQuery("SELECT id, name, qty FROM jdbc_items");
            rs.absolute(1);
            rs.updateInt("qty", 9);
            rs.updateRow();
            say("updatable", rs.getInt("qty"));
        }
    }

    static void transactions(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("INSERT INTO jdbc_items (name) VALUES ('one')");
            Savepoint point = c.setSavepoint();
            try {
                s.executeUpdate("INSERT INTO jdbc_items (name) VALUES ('one')");
            } catch (SQLException e) {
                error("unique", e);
            }
            try {
                s.executeQuery("SELECT 1");
            } catch (SQLException e) {
                error("in failed block", e);
            }
            c.rollback(point);
            rows("after savepoint", s.executeQuery("SELECT count(*) FROM jdbc_items"));
            c.rollback();
            rows("after rollback", s.executeQuery("SELECT count(*) FROM jdbc_items"));
            c.commit();
        }
        c.setAutoCommit(true);
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        say("isolation", c.getTransactionIsolation());
        c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        for (String sql : new String[] {"SELECT 1/0", "SELECT * FROM jdbc_absent", "SELECT nope FROM jdbc_items",
                                        "INSERT INTO jdbc_items (name, qty) VALUES ('n', -1)", "SELECT 'x'::int"})
            try (Statement s = c.createStatement()) {
                s.execute(sql);
            } catch (SQLException e) {
                error(sql, e);
            }
        try (Statement s = c.createStatement()) {
            rows("recovered", s.executeQuery("SELECT 42"));
        }
    }

    static void types(Connection c) throws Exception {
        String sql = "SELECT 7::int2, (-2147483648)::int4, 4611686018427387904::int8, 1.5::float8, 0.25::float4, true,"
            + " 1234567890.123456789::numeric, 'x'::varchar, '2024-02-29'::date, '23:59:59.123456'::time,"
            + " '1999-12-31 23:59:59'::timestamp, '3 days 7 secs'::interval, '00000000-0000-0000-0000-000000000007'::uuid,"
            + " '{\"a\": 1}'::jsonb, ARRAY[1,NULL,3], ARRAY['a',NULL], NULL::text, '10.1.2.3/8'::inet, ?::int";
        try (PreparedStatement p = c.prepareStatement(sql)) {
            for (int i = 0; i < 7; i++) {
                p.setInt(1, i);
                ResultSet rs = p.executeQuery();
                if (i == 0 || i == 6)
                    rows("types", rs);
                rs.close();
            }
            ResultSetMetaData m = p.getMetaData();
            StringBuilder names = new StringBuilder();
            for (int i = 1; i <= m.getColumnCount(); i++)
                names.append(m.getColumnTypeName(i)).append(' ');
            say("type names", names, p.getParameterMetaData().getParameterTypeName(1));
        }
    }

    static void large(Connection c) throws Exception {
        c.setAutoCommit(false);
        for (int fetch : new int[] {0, 1000})
            try (Statement s = c.createStatement()) {
                s.setFetchSize(fetch);
                rows("200k fetch " + fetch, s.executeQuery("SELECT g, md5(g::text) FROM generate_series(1, 200000) g"));
            }
        try (PreparedStatement p = c.prepareStatement("SELECT g FROM generate_series(1, ?) g")) {
            p.setFetchSize(7);
            for (int i = 0; i < 7; i++) {
                p.setInt(1, 50);
                ResultSet rs = p.executeQuery();
                rs.next();
                rs.next(); // abandoned with rows left
                rs.close();
            }
        }
        c.commit();
        c.setAutoCommit(true);
        String big = "z".repeat(1_000_000) + "é";
        try (PreparedStatement p = c.prepareStatement("SELECT length(?), md5(?)")) {
            p.setString(1, big);
            p.setString(2, big);
            rows("1 MB", p.executeQuery());
        }
        try (PreparedStatement p = c.prepareStatement("SELECT ?::bytea")) {
            p.setBytes(1, new byte[1_000_000]);
            ResultSet rs = p.executeQuery();
            rs.next();
            say("1 MB back", digest(rs.getBytes(1)));
        }
    }

    static void batches(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_items (name, qty) VALUES (?, ?)")) {
            for (int i = 0; i < 500; i++) {
                p.setString(1, "batch" + i);
                p.setInt(2, i);
                p.addBatch();
            }
            say("batch", Arrays.stream(p.executeBatch()).distinct().boxed().toList());
            p.setString(1, "batch0");
            p.setInt(2, 1);
            p.addBatch();
            p.setString(1, "never");
            p.setInt(2, 1);
            p.addBatch();
            p.executeBatch();
        } catch (BatchUpdateException e) {
            say("batch error", e.getSQLState(), e.getUpdateCounts().length);
        }
        c.rollback();
        c.setAutoCommit(true);
        try (Statement s = c.createStatement()) {
            s.addBatch("UPDATE jdbc_items SET qty = 1 WHERE id = 1");
            s.addBatch("UPDATE jdbc_items SET qty = 2 WHERE id = 1");
            say("statement batch", Arrays.toString(s.executeBatch()));
        }
    }

    static void copying(Connection c) throws Exception {
        CopyManager copy = ((PGConnection) c).getCopyAPI();
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TEMP TABLE jdbc_copy (a int, b text)");
        }
        StringBuilder in = new StringBuilder();
        for (int i = 0; i < 20000; i++)
            in.append(i).append('\t').append(i % 7 == 0 ? "\\N" : "row " + i).append('\n');
        say("copy in", copy.copyIn("COPY jdbc_copy FROM STDIN", new StringReader(in.toString())));
        for (String how : new String[] {"", " (FORMAT csv)", " (FORMAT binary)"}) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            long n = copy.copyOut("COPY jdbc_copy TO STDOUT" + how, out);
            say("copy out" + how, n, out.size(), digest(out.toByteArray()));
        }
        try {
            copy.copyIn("COPY jdbc_copy FROM STDIN", new ByteArrayInputStream("wrong\n".getBytes()));
        } catch (SQLException e) {
            error("copy", e);
        }
        try (Statement s = c.createStatement()) {
            rows("after copy", s.executeQuery("SELECT count(*) FROM jdbc_copy"));
        }
    }

    static void cancelling(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            Thread t = new Thread(() -> {
                try {
                    Thread.sleep(500);
                    s.cancel();
                } catch (Exception e) {
                    say("cancel failed", e);
                }
            });
            t.start();
            try {
                s.execute("SELECT pg_sleep(30)");
                say("cancel", "not cancelled");
            } catch (SQLException e) {
                error("cancelled", e);
            }
            t.join();
            s.setQueryTimeout(1);
            try {
                s.execute("SELECT pg_sleep(30)");
            } catch (SQLException e) {
                error("query timeout", e);
            }
            s.setQueryTimeout(0);
            rows("after cancel", s.executeQuery("SELECT 1"));
        }
    }

    static void metadata(Connection c) throws Exception {
        DatabaseMetaData m = c.getMetaData();
        String schema = "public", table = "jdbc_items";
        ResultSet rs = m.getTables(null, schema, "jdbc%", new String[] {"TABLE"});
        while (rs.next())
            say("table", rs.getString("TABLE_NAME"), rs.getString("TABLE_TYPE"));
        rs = m.getColumns(null, schema, table, "%");
        while (rs.next())
            say("column", rs.getString("COLUMN_NAME"), rs.getString("TYPE_NAME"), rs.getInt("NULLABLE"), rs.getString("COLUMN_DEF"));
        rs = m.getPrimaryKeys(null, schema, table);
        while (rs.next())
            say("primary key", rs.getString("COLUMN_NAME"), rs.getString("PK_NAME"));
        rs = m.getIndexInfo(null, schema, table, false, true);
        while (rs.next())
            say("index", rs.getString("INDEX_NAME"), rs.getString("COLUMN_NAME"), rs.getBoolean("NON_UNIQUE"));
        rs = m.getImportedKeys(null, schema, "jdbc_child");
        while (rs.next())
            say("imported", rs.getString("PKTABLE_NAME"), rs.getString("PKCOLUMN_NAME"), rs.getString("FKCOLUMN_NAME"));
        rs = m.getSchemas();
        while (rs.next())
            if (rs.getString(1).equals("public"))
                say("schema", rs.getString(1));
        rs = m.getTypeInfo();
        Set<String> types = new TreeSet<>();
        while (rs.next())
            if (List.of("int4", "text", "jsonb", "uuid").contains(rs.getString(1)))
                types.add(rs.getString(1));
        say("types", types);
        rs = m.getFunctions(null, schema, "jdbc%");
        say("functions", rs.next());
        rs = m.getTablePrivileges(null, schema, table);
        say("privileges", rs.next());
    }

    static void notifications(Connection c) throws Exception {
        try (Statement s = c.createStatement(); Connection other = DriverManager.getConnection(url);
             Statement o = other.createStatement()) {
            s.execute("LISTEN jdbc_channel");
            o.execute("NOTIFY jdbc_channel, 'hello'");
            PGNotification[] got = ((PGConnection) c).getNotifications(10000);
            say("notification", got == null ? "none" : got[0].getName() + " " + got[0].getParameter());
            s.execute("UNLISTEN *");
            s.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$");
            say("warning", s.getWarnings().getMessage());
        }
    }

    static void variants() throws Exception {
        String mark = url.contains("?") ? "&" : "?";
        for (String option : new String[] {"preferQueryMode=simple", "preferQueryMode=extendedForPrepared",
                                           "prepareThreshold=-1", "prepareThreshold=0", "binaryTransfer=false",
                                           "reWriteBatchedInserts=true", "autosave=always"})
            try (Connection c = DriverManager.getConnection(url + mark + option);
                 PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_items (name, qty) VALUES (?, ?)");
                 Statement s = c.createStatement()) {
                c.setAutoCommit(false);
                for (int i = 0; i < 20; i++) {
                    p.setString(1, "variant" + i);
                    p.setInt(2, i);
                    p.addBatch();
                }
                p.executeBatch();
                rows(option, s.executeQuery("SELECT name, qty FROM jdbc_items WHERE name LIKE 'variant%' ORDER BY qty LIMIT 3"));
                c.rollback();
            }
    }

    public static void main(String[] args) throws Exception {
        url = args[0];
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        try (Connection c = DriverManager.getConnection(url)) {
            setup(c);
            statements(c);
            transactions(c);
            types(c);
            large(c);
            batches(c);
            copying(c);
            cancelling(c);
            metadata(c);
            notifications(c);
            variants();
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE jdbc_child, jdbc_items");
            }
        }
        say("end: ok");
    }
}
