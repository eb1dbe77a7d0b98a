package load_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/postgres"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// number is a whole number of the environment, or a default that is small enough for
// every run of the tests.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

// pool is how many shared virtual numbers creates are spread over.
const pool = 1000

// database is a migrated database with a tenant and a pool.
func database(t *testing.T, srv *server.Server) (*postgres.Store, string) {
	t.Helper()
	name := srv.Database(t, "")
	s, err := postgres.Open(t.Context(), postgres.Options{URL: srv.URL(name), Conns: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	err = s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, storetest.Tenant(t, "acme")); err != nil {
			return err
		}
		for i := range pool {
			if err := tx.InsertNumber(ctx, storetest.Number("acme", storetest.Virtual(i), masking.Shared), storetest.Start()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, name
}

// What the engine makes of a create beside what PostgreSQL's own tool makes of the same
// statements, sent one by one: CREATES=20000 go test ./test/load -run BesidePgbench -v.
func TestCreatesBesidePgbench(t *testing.T) {
	creates := number(t, "CREATES", 2000)
	const clients = 64
	srv := server.Start(t, "fsync=on")
	s, name := database(t, srv)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= creates; i = int(next.Add(1)) {
				a := storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(i%pool), []e164.Number{person(2 * i)}, []e164.Number{person(2*i + 1)})
				if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	ours := float64(creates) / time.Since(begin).Seconds()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	if n := rows(t, srv, name, "claim"); n != 2*creates {
		t.Fatalf("%d creates have %d claims", creates, n)
	}
	_, bare := database(t, srv)
	theirs := pgbench(t, srv, bare, clients, creates)
	if n := rows(t, srv, bare, "claim"); n != 2*(creates/clients)*clients {
		t.Fatalf("%d creates of pgbench have %d claims", creates, n)
	}
	t.Logf("durable creates, %d clients, %d each way: %.0f/s, pgbench %.0f/s: ratio %.2f (goal 0.70)", clients, creates, ours, theirs, ours/theirs)
}

func person(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9199%08d", i)) }

func rows(t *testing.T, srv *server.Server, database, table string) (n int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), server.Program("psql"), "-At", "-c", "SELECT COUNT(*) FROM "+table, srv.URL(database)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
		t.Fatal(err)
	}
	return n
}

// script is a create as the engine sends it, for pgbench: who creates is :client_id, what
// :n, and no number comes twice.
const script = `\set n :client_id * 1000000 + random(0, 999999)
\set v random(0, 999)
BEGIN;
SELECT 1 FROM tenant WHERE id = 'acme' FOR KEY SHARE;
SELECT 1 FROM virtual_number WHERE number IN ('+91aa' || :n, '+91bb' || :n) LIMIT 1;
SELECT 1 FROM virtual_number WHERE number = '+9180000' || lpad(CAST(:v AS TEXT), 5, '0') AND tenant = 'acme' FOR UPDATE;
SELECT * FROM virtual_number WHERE number = '+9180000' || lpad(CAST(:v AS TEXT), 5, '0') AND tenant = 'acme';
INSERT INTO allocation (id, tenant, virtual_number, from_numbers, to_numbers, usage, record, custom_field, created_at, updated_at, expires_at, ended_at, end_reason, calls, connected, talk_seconds, pin, to_pin, max_pin_attempts)
	VALUES ('gvn_' || :n, 'acme', '+9180000' || lpad(CAST(:v AS TEXT), 5, '0'), '+91aa' || :n, '+91bb' || :n, 'twoway', 1, 'order_id=ORD-20240615', 1718443800250, 1718443800250, 1718447400250, 0, '', 0, 0, 0, '', '', 0);
INSERT INTO party (number, tenant, allocation, virtual_number, side, position, silent, until, pin) VALUES
	('+91aa' || :n, 'acme', 'gvn_' || :n, '+9180000' || lpad(CAST(:v AS TEXT), 5, '0'), 'from', 0, 0, 1718447400250, 0),
	('+91bb' || :n, 'acme', 'gvn_' || :n, '+9180000' || lpad(CAST(:v AS TEXT), 5, '0'), 'to', 0, 0, 1718447400250, 0);
SAVEPOINT try;
SELECT 1 FROM virtual_number WHERE number = '+9180000' || lpad(CAST(:v AS TEXT), 5, '0') FOR UPDATE;
SELECT 1 FROM party WHERE number IN ('+91aa' || :n, '+91bb' || :n) AND virtual_number = '+9180000' || lpad(CAST(:v AS TEXT), 5, '0') AND until > 1718443800250 AND silent = 1 AND allocation <> 'gvn_' || :n LIMIT 1;
INSERT INTO claim (virtual_number, caller, allocation, expires_at) VALUES
	('+9180000' || lpad(CAST(:v AS TEXT), 5, '0'), '+91aa' || :n, 'gvn_' || :n, 1718447400250), ('+9180000' || lpad(CAST(:v AS TEXT), 5, '0'), '+91bb' || :n, 'gvn_' || :n, 1718447400250)
	ON CONFLICT (virtual_number, caller) DO UPDATE SET allocation = excluded.allocation, expires_at = excluded.expires_at
	WHERE claim.expires_at <= 1718443800250 OR claim.allocation = excluded.allocation RETURNING caller;
RELEASE try;
UPDATE virtual_number SET load = CASE WHEN load + 1 > 0 THEN load + 1 ELSE 0 END, rested_at = 1718443800250 WHERE number = '+9180000' || lpad(CAST(:v AS TEXT), 5, '0');
INSERT INTO event (id, type, tenant, allocation, call, at, reached, data) VALUES ('evt_' || :n, 'greenvn.created', 'acme', 'gvn_' || :n, '', 1718443800250,
	(SELECT MAX(r.at) FROM (SELECT CAST(1718443800250 AS BIGINT) AS at UNION ALL SELECT MAX(reached) FROM event WHERE tenant = 'acme') r),
	'{"greenvn_id":"gvn_06h0000000000000000000000","virtual_number":"+918000000001","from":["+919900000001"],"to":["+919900000002"],"status":"active","custom_field":"order_id=ORD-20240615"}')
	ON CONFLICT (id) DO NOTHING;
COMMIT;
`

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without`)

// pgbench gives how many creates a second it does.
func pgbench(t *testing.T, srv *server.Server, database string, clients, creates int) float64 {
	t.Helper()
	// What is drawn must not be drawn twice: a counter of the client's in place of it.
	text := strings.Replace(script, `\set n :client_id * 1000000 + random(0, 999999)`, `\set i :i + 1
\set n :client_id * 1000000 + :i`, 1)
	path := filepath.Join(t.TempDir(), "create.sql")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), server.Program("pgbench"), "-n", "-M", "prepared", "-f", path, "-D", "i=0", "-c", strconv.Itoa(clients), "-j", "2",
		"-t", strconv.Itoa(creates/clients), srv.URL(database))
	out, err := cmd.CombinedOutput()
	found := tps.FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("pgbench: %v\n%s", err, out)
	}
	v, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Routing reads one key, however many there are: CLAIMS=10000000 go test ./test/load
// -run RoutingOverMany -v -timeout 60m.
func TestRoutingOverManyClaims(t *testing.T) {
	large := number(t, "CLAIMS", 50_000)
	srv := server.Start(t)
	sizes := []int{10_000, large}
	var stores []*postgres.Store
	for _, claims := range sizes {
		s, name := database(t, srv)
		fill(t, srv, name, claims)
		stores = append(stores, s)
	}
	took := make([][]time.Duration, 2)
	const calls, rounds = 400, 10
	for range rounds {
		for k, s := range stores {
			for c := range calls {
				i := (c*7919 + 13) % (sizes[k] / 2)
				begin := time.Now()
				route, err := s.Route(t.Context(), storetest.Virtual(i%pool), person(2*i))
				took[k] = append(took[k], time.Since(begin))
				if err != nil || len(route.Found) != 1 || route.Found[0].To[0] != person(2*i+1) {
					t.Fatalf("claim %d of %d: %v, %d found", i, sizes[k], err, len(route.Found))
				}
			}
		}
	}
	p99 := func(list []time.Duration) time.Duration {
		slices.Sort(list)
		return list[len(list)*99/100]
	}
	few, many := p99(took[0]), p99(took[1])
	t.Logf("routing, p99: %v of %d claims, %v of %d: ratio %.2f (goal 2.00)", few, sizes[0], many, sizes[1], float64(many)/float64(few))
}

// fill writes allocations of two people each, by the server itself.
func fill(t *testing.T, srv *server.Server, database string, claims int) {
	t.Helper()
	const step = 500_000
	for from := 0; from < claims/2; from += step {
		to := min(from+step, claims/2) - 1
		for _, text := range []string{
			`INSERT INTO allocation (id, tenant, virtual_number, from_numbers, to_numbers, usage, record, custom_field, created_at, updated_at, expires_at, ended_at, end_reason, calls, connected, talk_seconds)
				SELECT 'gvn_' || lpad(CAST(i AS TEXT), 26, '0'), 'acme', '+9180000' || lpad(CAST(i % 1000 AS TEXT), 5, '0'), '+9199' || lpad(CAST(2*i AS TEXT), 8, '0'),
				'+9199' || lpad(CAST(2*i+1 AS TEXT), 8, '0'), 'twoway', 1, '', 1718443800250, 1718443800250, 1718447400250, 0, '', 0, 0, 0 FROM generate_series($1::bigint, $2::bigint) i`,
			`INSERT INTO claim SELECT '+9180000' || lpad(CAST(i % 1000 AS TEXT), 5, '0'), '+9199' || lpad(CAST(2*i+side AS TEXT), 8, '0'), 'gvn_' || lpad(CAST(i AS TEXT), 26, '0'), 1718447400250
				FROM generate_series($1::bigint, $2::bigint) i CROSS JOIN generate_series(0, 1) side`,
		} {
			srv.Exec(t, database, text, from, to)
		}
	}
	srv.Exec(t, database, `ANALYZE`)
}
