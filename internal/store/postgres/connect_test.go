package postgres

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/store/sqlstore"
	server "tandem/internal/testkit/postgres"
)

func TestWhatPostgreSQLRefusesAsADatabaseIsOpenedIsToldWithItsRemedy(t *testing.T) {
	pg := server.Start(t)
	database := pg.Database(t, "")
	pg.Exec(t, database, `CREATE ROLE guest LOGIN PASSWORD 'right'`)
	pg.Exec(t, database, `CREATE ROLE narrow LOGIN CONNECTION LIMIT 0`)
	pg.Exec(t, database, `CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'`)
	hba := filepath.Join(pg.Dir, "data", "pg_hba.conf")
	was, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	rules := "host all guest 127.0.0.1/32 scram-sha-256\nhost all stranger 127.0.0.1/32 reject\n" + string(was)
	if err := os.WriteFile(hba, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, database, `SELECT pg_reload_conf()`)

	at := func(user, password, database string) string {
		u, err := url.Parse(pg.URL(database))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		return u.String()
	}
	for name, c := range map[string]struct{ url, says string }{
		"password":   {at("guest", "wrong", database), `postgres: user "guest" is refused: is the password right`},
		"host":       {at("stranger", "", database), `postgres: user "stranger" is refused: is the password right, and does pg_hba.conf let this machine in?`},
		"database":   {at("tandem", "", "nowhere"), `postgres: there is no database "nowhere": make it`},
		"full":       {at("narrow", "", database), `postgres: the server has no connection left: raise max_connections`},
		"privileges": {at("guest", "right", database), `postgres: user "guest" may not make tables in "` + database + `": let him own the database`},
		"encoding":   {at("tandem", "", "old"), `postgres: the database has the encoding SQL_ASCII, not UTF8`},
	} {
		s, err := Open(t.Context(), Options{URL: c.url})
		if err == nil {
			_ = s.Close()
		}
		_, up := Migrate(t.Context(), Options{URL: c.url}, sqlstore.Up)
		for _, err := range []error{err, up} {
			if err == nil || !strings.HasPrefix(err.Error(), c.says) || strings.Count(err.Error(), "postgres:") != 1 {
				t.Errorf("%s: %v, want %s", name, err, c.says)
			}
		}
	}
}
