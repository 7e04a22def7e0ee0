// SPDX-License-Identifier: Apache-2.0
// Reads a masked column in every way pgjdbc has. Usage: JdbcMasked jdbc:postgresql://…  Prints ok.

import java.io.ByteArrayOutputStream;
import java.sql.*;
import org.postgresql.PGConnection;

public class JdbcMasked {
    static void check(ResultSet rs, int least) throws Exception {
        int n = 0;
        for (; rs.next(); n++)
            if (!"****".equals(rs.getString(1)))
                throw new IllegalStateException("not masked: " + rs.getString(1));
        if (n < least)
            throw new IllegalStateException(n + " rows");
        rs.close();
    }

    public static void main(String[] args) throws Exception {
        try (Connection c = DriverManager.getConnection(args[0]); Statement s = c.createStatement()) {
            check(s.executeQuery("SELECT ssn FROM users"), 100);
            try (PreparedStatement p = c.prepareStatement("SELECT ssn, id FROM users WHERE id <= ?")) {
                for (int i = 0; i < 12; i++) { // server-prepared, then without Describe, then binary
                    p.setInt(1, 50);
                    check(p.executeQuery(), 50);
                }
            }
            c.setAutoCommit(false);
            s.setFetchSize(9); // a portal, fetched in pieces
            check(s.executeQuery("SELECT u.ssn AS x FROM users u"), 100);
            c.commit();
            try {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                ((PGConnection) c).getCopyAPI().copyOut("COPY users TO STDOUT", out);
            } catch (SQLException e) {
                if (!"42501".equals(e.getSQLState()))
                    throw e;
            }
            c.rollback();
        }
        System.out.println("ok");
    }
}
