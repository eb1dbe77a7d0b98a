package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashChildEnv); path != "" {
		crashChild(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// empty puts a database without a row at a path.
var empty = storetest.Template(func(path string) (io.Closer, error) { return Open(context.Background(), Options{Path: path}) })

// openTemp opens a store in a temporary folder and closes it with the test.
func openTemp(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "tandem.db")
		if err := empty(o.Path); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// withPool is an open store with storetest.Acme.
func withPool(t testing.TB, o Options) *Store {
	t.Helper()
	s := openTemp(t, o)
	storetest.Acme(t, s)
	return s
}

// statements collects what stores have prepared.
type statements struct {
	mu    sync.Mutex
	texts map[string]bool
}

// add takes the statements of a closed store.
func (c *statements) add(s *Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, session := range s.sessions {
		for text := range session.stmts {
			c.texts[text] = true
		}
	}
}

func TestTheEngineDoesWhatEveryStoreMust(t *testing.T) {
	seen := &statements{texts: map[string]bool{}}
	storetest.Run(t, func(t *testing.T) store.Store {
		path := filepath.Join(t.TempDir(), "tandem.db")
		if err := empty(path); err != nil {
			t.Fatal(err)
		}
		// What is left after a crash has tests of its own; no test here needs the disk.
		s, err := Open(t.Context(), Options{Path: path, Synchronous: Normal})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			seen.add(s)
		})
		return s
	})
	t.Run("EveryStatementOfItFindsItsRowsByAnIndex", func(t *testing.T) { checkPlans(t, seen.texts) })
}

// scans are the statements that read a whole table or index, and why they may.
func scans() map[string]string {
	return map[string]string{
		"FROM tenant t ORDER BY t.id":                  "the list of all tenants",
		"FROM trunk ORDER BY name":                     "the list of all trunks",
		"FROM node ORDER BY id":                        "the list of all servers",
		"FROM node n WHERE n.seen_at < ?":              "all servers, and the index of open calls, as long as there are calls up",
		"SELECT 1 FROM tenant LIMIT 1":                 "stops at the first row",
		"FROM audit WHERE 1 = 1":                       "the log by its primary key; what narrows it to an action or a time reads on until the page is full",
		"WHERE g.status = 'recording' AND CASE WHEN":   "the index of running recordings, as long as there are calls up",
		"DELETE FROM party WHERE tenant = ?":           "a tenant is deleted once",
		"FROM event e WHERE e.cursor > ? ORDER BY":     "a list of all tenants, by primary key",
		"DELETE FROM event WHERE tenant = ?":           "a tenant is deleted once",
		"DELETE FROM call WHERE tenant = ?":            "a tenant is deleted once",
		"DELETE FROM tenant WHERE id = ?":              "the check that nothing refers to him",
		"DELETE FROM pin_try WHERE allocation IN":      "a tenant is deleted once",
		"DELETE FROM recording WHERE tenant = ?":       "a tenant is deleted once",
		"FROM prompt ORDER BY tenant":                  "the list of all announcements",
		"FROM webhook w WHERE w.active = 1":            "the endpoints of all tenants, which are few",
		"SELECT COUNT(*) FROM (SELECT 1 FROM delivery": "as many as a limit lets through",
		"FROM (VALUES (5), (6), (7), (8), (9)) k":      "the five lengths of PINs",
		"SELECT COUNT(*) FROM (SELECT 1 FROM claim":    "as many as a limit lets through",
		"k.caller <> '' AND k.tenant = ?":              "a page of calls from each side of a party",
		"IN (SELECT id FROM old)":                      "as many as a limit lets through; so are those below",
		"IN (SELECT cursor FROM old)":                  "",
		"IN (SELECT name FROM old)":                    "",
		"IN (SELECT tenant, key FROM old)":             "",
		"IN (SELECT tenant, scope, subject FROM old)":  "",
		"IN (SELECT webhook, event FROM old)":          "",
		"caller FROM old)":                             "",
		"/* whole */":                                  "a database is copied whole, page by page of the primary key",
		"FROM sqlite_schema m":                         "the schema",
		"FROM sqlite_sequence WHERE name = 'event'":    "a table of one row",
		"FROM pragma_foreign_key_check":                "a backup is looked through once",
		"INSERT INTO":                                  "SCAN CONSTANT ROW of VALUES",
	}
}

// sorts are the statements that sort what they have found, and why they may.
func sorts() map[string]string {
	return map[string]string{
		"INDEXED BY allocation_open_expiry":    "the few that are over and wait for the sweeper; those ended come in order",
		"g.held = 1 AND g.status <> 'deleted'": "a tenant's recordings under legal hold, which are few",
		"k.caller <> '' AND k.tenant = ?":      "a page of calls from each side of a party",
		"FROM sqlite_schema m":                 "the schema",
		"GROUP BY n.sharing, n.region, n.type": "the kinds of a pool, each a row, counted when the tenant asks",
	}
}

// checkPlans asks SQLite how it runs each statement. No test of the suite can
// tell a scan from a search, a pool of a million numbers can.
func checkPlans(t *testing.T, texts map[string]bool) {
	s := openTemp(t, Options{})
	lists := 0
	for text := range texts {
		text = strings.Join(strings.Fields(text), " ")
		if !strings.Contains(text, " FROM ") && !strings.HasPrefix(text, "UPDATE") {
			continue
		}
		plan := s.plan(t, text)
		if strings.Contains(plan, "SCAN") && !anyPart(scans(), text) {
			t.Errorf("a scan:\n%s\n%s", text, plan)
		}
		if strings.Contains(plan, "TEMP B-TREE") && !anyPart(sorts(), text) {
			t.Errorf("a sort:\n%s\n%s", text, plan)
		}
		if strings.Contains(text, "ORDER BY") {
			lists++
		}
	}
	if lists < 20 {
		t.Errorf("only %d lists were seen", lists)
	}
}

func anyPart(parts map[string]string, text string) bool {
	for part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// Lists that a tenant may ask for again and again must not read all he ever had.
func TestListsReadOnlyWhatTheyAreAskedFor(t *testing.T) {
	s := openTemp(t, Options{Readers: 1})
	byPIN := store.AllocationFilter{Tenant: "acme", Product: masking.GreenPin}
	allocations := func(f store.AllocationFilter, status masking.Status) func(context.Context, store.Reader) error {
		f.Status = status
		return func(ctx context.Context, tx store.Reader) error { _, err := tx.Allocations(ctx, f); return err }
	}
	byNumbers := store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN}
	for name, c := range map[string]struct {
		read func(context.Context, store.Reader) error
		want []string
	}{
		"deleted": {allocations(byNumbers, masking.Deleted), []string{"USING INDEX allocation_ended (tenant=? AND id>? AND id<?)",
			"USING INDEX allocation_open_expiry (expires_at<?)"}},
		"deleted by PIN": {allocations(byPIN, masking.Deleted), []string{"USING INDEX allocation_pin_ended (tenant=? AND <expr>=? AND id>? AND id<?)"}},
		"expired by PIN": {allocations(byPIN, masking.Expired), []string{"USING INDEX allocation_pin_ended (tenant=? AND <expr>=? AND id>? AND id<?)"}},
		"active by PIN":  {allocations(byPIN, masking.Active), []string{"USING INDEX allocation_open (tenant=? AND id>? AND id<?)"}},
		"events since": {func(ctx context.Context, tx store.Reader) error {
			_, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Since: storetest.Start()})
			return err
		}, []string{"SEARCH s USING COVERING INDEX event_reached (tenant=? AND reached>?)", "SEARCH e USING INDEX event_tenant (tenant=? AND cursor>?)"}},
		"calls of a party": {func(ctx context.Context, tx store.Reader) error {
			_, err := tx.Calls(ctx, store.CallFilter{Tenant: "acme", Party: storetest.Person(1), Since: storetest.Start(), Limit: 9})
			return err
		}, []string{"SEARCH k USING COVERING INDEX call_caller (tenant=? AND caller=? AND started_at>?)",
			"SEARCH k USING COVERING INDEX call_callee (tenant=? AND callee=? AND started_at>?)", "SEARCH k USING PRIMARY KEY (id=?)"}},
		"calls of a node": {func(ctx context.Context, tx store.Reader) error {
			_, err := tx.OpenCalls(ctx, "node-1", 25)
			return err
		}, []string{"SEARCH k USING INDEX call_node (node=?)"}},
		"free numbers": {func(ctx context.Context, tx store.Reader) error {
			_, err := tx.Usable(ctx, "acme", masking.Pick{Sharing: masking.Exclusive}, nil, storetest.Start(), 9)
			return err
		}, []string{"USING INDEX virtual_number_rest (tenant=? AND sharing=? AND busy_until=?)"}},
		"the earliest expiry": {func(ctx context.Context, tx store.Reader) error {
			_, err := tx.EarliestRelease(ctx, "acme", nil, storetest.Start())
			return err
		}, []string{"USING COVERING INDEX virtual_number_rest (tenant=? AND sharing=? AND busy_until>?)"}},
	} {
		var plans string
		for _, text := range s.prepares(t, c.read) {
			plans += s.plan(t, text)
		}
		for _, want := range c.want {
			if !strings.Contains(plans, want) {
				t.Errorf("%s: %s is not in\n%s", name, want, plans)
			}
		}
	}
}

// prepares gives the statements that a View runs, on a store with one reader.
func (s *Store) prepares(t testing.TB, read func(context.Context, store.Reader) error) (texts []string) {
	t.Helper()
	session := s.sessions[0]
	for text, st := range session.stmts {
		_ = st.Close()
		delete(session.stmts, text)
	}
	if err := s.View(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	for text := range session.stmts {
		if text != "BEGIN" && text != "ROLLBACK" {
			texts = append(texts, text)
		}
	}
	return texts
}

// plan is SQLite's plan of a statement, a line a step.
func (s *Store) plan(t testing.TB, text string) string {
	t.Helper()
	rows, err := s.sessions[0].conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, make([]any, strings.Count(text, "?"))...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(detail + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

func TestRoutingIsOneStatementOfPrimaryKeySearches(t *testing.T) {
	s := withPool(t, Options{Readers: 1})
	if _, err := s.Route(t.Context(), storetest.Virtual(1), storetest.Person(1)); err != nil {
		t.Fatal(err)
	}
	var prepared []string
	for _, session := range s.sessions[:len(s.sessions)-1] { // all but the writer's
		for text := range session.stmts {
			prepared = append(prepared, text)
		}
	}
	if len(prepared) != 1 {
		t.Fatalf("Route prepared %q", prepared)
	}
	steps := strings.Split(strings.TrimSpace(s.plan(t, prepared[0])), "\n")
	searches := slices.DeleteFunc(steps, func(step string) bool { return strings.HasPrefix(step, "CORRELATED SCALAR SUBQUERY ") })
	if len(searches) != 6 {
		t.Errorf("%d searches, want one a table, one for PINs and one for who is blocked", len(searches))
	}
	for _, step := range searches {
		if !strings.HasPrefix(step, "SEARCH ") || !strings.Contains(step, "USING PRIMARY KEY") {
			t.Errorf("not by a primary key: %s", step)
		}
	}
}

// A number may carry thousands of PINs and a caller stand on hundreds of numbers:
// what a call or a create asks about them reads none but those it is about.
func TestPINsAreReadByTheirKeys(t *testing.T) {
	s := withPool(t, Options{Readers: 1})
	a := storetest.ByPIN(storetest.Allocation("acme", storetest.AllocationID(1), storetest.Virtual(1), storetest.People(1), nil), "4821")
	if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, lengths := tx.PINLengths(ctx, storetest.Virtual(1), storetest.Start())
		_, count := tx.PINCount(ctx, storetest.Virtual(1), 4, storetest.Start(), 9)
		_, free := tx.PINFree(ctx, storetest.Virtual(1), "5000", storetest.Start())
		_, entry := tx.PINCase(ctx, storetest.Virtual(1), storetest.Person(1), "4821", storetest.Start())
		b := storetest.Allocation("acme", storetest.AllocationID(2), storetest.Virtual(1), storetest.People(2), storetest.People(3))
		if err := tx.Hold(ctx, b, masking.Exclusive, storetest.Start()); masking.KindOf(err) != masking.Conflict {
			return fmt.Errorf("hold: %v", err)
		}
		return errors.Join(lengths, count, free, entry, tx.Release(ctx, a.ID))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"SELECT k.column1 - 1 FROM":          "SEARCH claim EXISTS USING COVERING INDEX claim_pin (virtual_number=? AND <expr>=? AND expires_at>?)",
		"SELECT COUNT(*) FROM (":             "SEARCH claim USING COVERING INDEX claim_pin (virtual_number=? AND <expr>=? AND expires_at>?)",
		"AND expires_at > ? AND caller IN (": "SEARCH claim USING PRIMARY KEY (virtual_number=? AND caller=?)",
		"AND caller > ? AND caller < ?":      "SEARCH claim USING PRIMARY KEY (virtual_number=? AND caller>? AND caller<?)",
		"FROM party p JOIN allocation":       "SEARCH p USING COVERING INDEX party_pin (number=? AND virtual_number=? AND until>?)",
		"AND length(caller) IN (":            "SEARCH claim USING INDEX claim_pin (virtual_number=? AND <expr>=? AND expires_at>?)",
		"SET busy_until = COALESCE(":         "SEARCH claim USING COVERING INDEX claim_pin (virtual_number=? AND <expr>=?)",
	}
	for text := range s.sessions[len(s.sessions)-1].stmts {
		for part, step := range want {
			if !strings.Contains(text, part) {
				continue
			}
			if plan := s.plan(t, text); !strings.Contains(plan, step) {
				t.Errorf("%s\n%s", text, plan)
			}
			delete(want, part)
		}
	}
	if len(want) > 0 {
		t.Errorf("never prepared: %v", want)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"no path": {}, "memory": {Path: ":memory:"}, "no folder": {Path: filepath.Join(folder, "missing", "x.db")},
		"a folder": {Path: folder}, "synchronous": {Path: filepath.Join(folder, "x.db"), Synchronous: "off"}, "garbage": {Path: garbage},
	} {
		s, err := Open(t.Context(), o)
		if err == nil {
			t.Errorf("%s was opened", name)
			_ = s.Close()
		}
	}
}

func TestTheFilesAreForTheirOwnerAloneAndMayHaveAnyName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=memory&c%20#d;é.db")
	s := withPool(t, Options{Path: path})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(file), info.Mode().Perm())
		}
	}
}

func TestAClosedStoreHasEverythingInOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := withPool(t, Options{Path: path})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// SQLite removes these when the last connection closes: none is left open.
	for _, file := range []string{path + "-wal", path + "-shm"} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", filepath.Base(file), err)
		}
	}
}

func TestAStoreOpenedAgainHasEverythingAndKeepsItsZones(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := withPool(t, Options{Path: path, Synchronous: Normal})
	a := storetest.Allocation("acme", storetest.AllocationID(1), storetest.Virtual(1), storetest.People(1), storetest.People(2))
	if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTemp(t, Options{Path: path})
	var zones []*time.Location
	for range 2 {
		err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			r, err := tx.Route(ctx, storetest.Virtual(1), storetest.Person(2))
			if err == nil && (len(r.Found) != 1 || r.Found[0].ID != a.ID) {
				err = fmt.Errorf("found %v", r.Found)
			}
			zones = append(zones, r.Tenant.Settings.Zone)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if zones[0] != zones[1] || zones[0].String() != masking.DefaultZoneName {
		t.Errorf("zones %v and %v, loaded twice", zones[0], zones[1])
	}
}

// corruptions are changes of a stored allocation, number, tenant, call, event,
// trunk, token, replay or recording into what nobody wrote.
func corruptions() []string {
	const secret = "+919955501234 and more"
	return []string{
		`UPDATE virtual_number SET sharing = '` + secret + `'`,
		`UPDATE allocation SET usage = '` + secret + `'`,
		`UPDATE allocation SET from_numbers = ' '`,
		`UPDATE allocation SET from_numbers = '` + secret + `'`,
		`UPDATE allocation SET to_numbers = '+91 99555 01234'`,
		`UPDATE allocation SET virtual_number = '919955501234'`,
		`UPDATE allocation SET to_pin = '99555 01234'`,
		`UPDATE virtual_number SET stranger_action = '` + secret + `'`,
		`UPDATE virtual_number SET stranger_forward = '` + secret + `'`,
		`UPDATE tenant SET stranger_action = '` + secret + `'`,
		`UPDATE tenant SET recording_retention = -1`,
		`UPDATE recording SET status = '` + secret + `'`,
		`UPDATE recording SET virtual_number = '` + secret + `'`,
		`UPDATE tenant SET zone = '` + secret + `'`,
		`UPDATE tenant SET zone = 'Local'`,
		`UPDATE tenant SET ring_each = -5`,
		`UPDATE tenant SET max_duration = 9223372036854775807`,
		`UPDATE call SET attempts = '[{"target": "` + secret + `"}]'`,
		`UPDATE call SET attempts = '` + secret + `'`,
		`UPDATE call SET attempts = '[{"ring_ms": -1}]'`,
		`UPDATE call SET caller = '` + secret + `'`,
		`UPDATE call SET talk_time = -1`,
		`UPDATE event SET data = '` + secret + `'`,
		`UPDATE trunk SET sources = '` + secret + `'`,
		`UPDATE trunk SET targets = '` + secret + `'`,
		`UPDATE trunk SET transport = 'carrier pigeon'`,
		`UPDATE trunk SET number_format = ''`,
		`UPDATE token SET hash = x'00'`,
		`UPDATE replay SET digest = x'00'`,
		`PRAGMA foreign_keys = 0; DELETE FROM allocation`, // the claims stay
	}
}

func TestACorruptRowIsAnErrorThatTellsNoValue(t *testing.T) {
	for _, change := range corruptions() {
		t.Run(change, func(t *testing.T) {
			s := withPool(t, Options{})
			fillForCorruption(t, s)
			if err := readAll(t, s); err != nil {
				t.Fatalf("before the corruption: %v", err)
			}
			// On the writer's own connection, between its transactions.
			if _, err := s.sessions[len(s.sessions)-1].conn.ExecContext(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			err := readAll(t, s)
			if err == nil || masking.KindOf(err) != "" {
				t.Fatalf("got %v, want a plain error", err)
			}
			if strings.Contains(err.Error(), "99555") {
				t.Errorf("the error tells the value: %v", err)
			}
		})
	}
}

func fillForCorruption(t *testing.T, s *Store) {
	t.Helper()
	a := storetest.Allocation("acme", storetest.AllocationID(1), storetest.Virtual(1), storetest.People(1), storetest.People(2))
	if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
		t.Fatal(err)
	}
	c := storetest.Call(a, storetest.CallID(1), storetest.Person(1))
	c.Attempts = []masking.Attempt{{Target: storetest.Person(2), Trunk: "carrier", Ring: time.Second}}
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.BeginCall(ctx, c)
		return errors.Join(err, tx.InsertToken(ctx, storetest.Token("acme", "tok_1")),
			tx.InsertTrunk(ctx, masking.Trunk{Name: "carrier", Transport: masking.UDP, NumberFormat: masking.FormatE164}),
			tx.BeginRecording(ctx, masking.Recording{Call: c.ID, Tenant: "acme", Status: masking.RecordingRunning}),
			tx.KeepReplay(ctx, store.Replay{Tenant: "acme", Key: "k", CreatedAt: storetest.Start()}))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// readAll reads everything and gives the first error.
func readAll(t *testing.T, s *Store) error {
	t.Helper()
	return s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Replay(ctx, "acme", "k", time.Time{}); err != nil {
			return err
		}
		for _, read := range []func() error{
			func() error { _, err := tx.Route(ctx, storetest.Virtual(1), storetest.Person(1)); return err },
			func() error { _, err := tx.Tenants(ctx); return err },
			func() error { _, err := tx.Tokens(ctx, "acme"); return err },
			func() error { _, err := tx.Numbers(ctx, "acme", "", 0); return err },
			func() error {
				_, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN})
				return err
			},
			func() error { _, err := tx.Calls(ctx, store.CallFilter{Tenant: "acme"}); return err },
			func() error { _, err := tx.Events(ctx, store.EventFilter{Tenant: "acme"}); return err },
			func() error { _, err := tx.Trunks(ctx); return err },
			func() error { _, err := tx.Recording(ctx, "acme", storetest.CallID(1)); return err },
		} {
			if err := read(); err != nil {
				return err
			}
		}
		return nil
	})
}
