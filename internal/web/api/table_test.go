package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/web/api"
)

// keepCalls writes n ended calls of acme's, a second after another, each changed by edit.
func (h *harness) keepCalls(n int, edit func(i int, c *masking.Call)) {
	h.Helper()
	err := h.store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		for i := range n {
			at := publishedTime.Add(time.Duration(i) * time.Second)
			c := masking.Call{ID: masking.CallID(fmt.Sprintf("call_%04d", i)), Tenant: "acme", VirtualNumber: e164.MustParse(vn1), Caller: e164.MustParse(alice),
				Callee: e164.MustParse(bob), Direction: masking.FromCalls, StartedAt: at, EndedAt: at.Add(9 * time.Second), Cause: masking.CauseBusy}
			edit(i, &c)
			if _, err := tx.BeginCall(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

// csv reads an export without its line of names.
func (h *harness) csv(query string) [][]string {
	h.Helper()
	a, err := h.export(query)
	if err != nil {
		h.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(a)).ReadAll()
	if err != nil || len(rows) == 0 || rows[0][0] != "call_sid" {
		h.Fatalf("%v: %q", err, a)
	}
	return rows[1:]
}

func (h *harness) export(query string) (string, error) { return h.exportFrom(h.server.URL, query) }

// exportFrom gives what came of an export, and what was wrong with it.
func (h *harness) exportFrom(server, query string) (string, error) {
	req, err := http.NewRequest("GET", server+"/v1/tenants/acme/calls.csv"+query, nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(h.sid, h.token)
	resp, err := h.server.Client().Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if ct := resp.Header.Get("Content-Type"); err == nil && ct != "text/csv; charset=utf-8; header=present" {
		err = errors.New("Content-Type " + ct)
	}
	return string(b), err
}

func TestCallsAreFilteredAlikeAsAListAndAsATable(t *testing.T) {
	h := newHarness(t)
	h.keepCalls(6, func(i int, c *masking.Call) {
		switch i {
		case 1:
			c.AnsweredAt, c.Cause, c.Recorded = c.StartedAt, masking.CauseCallerHungUp, true
		case 2:
			c.VirtualNumber, c.Callee = e164.MustParse(vn2), e164.MustParse(carol)
		case 3:
			c.Caller, c.Callee, c.Direction = c.Callee, c.Caller, masking.ToCalls
		case 4:
			c.Cause, c.Refusal, c.Caller, c.Callee, c.Direction = masking.CauseRejected, masking.RefusedStranger, e164.MustParse(dave), e164.Number{}, ""
		case 5:
			c.EndedAt, c.Cause = time.Time{}, ""
		}
	})
	for query, want := range map[string]string{
		"": "5 4 3 2 1 0", "cause=busy": "3 2 0", "direction=to_from": "3", "virtual_number=%2B914000000002": "2", "virtual_number=+914000000002": "2",
		"party=" + "%2B917700000003": "2", "party=%2B918800000002": "5 3 1 0", "answered=true": "1", "answered=false": "5 4 3 2 0",
		"recorded=true": "1", "recorded=false&status=ended": "4 3 2 0", "status=live": "5", "cause=rejected&party=%2B916600000004": "4",
		"since=2024-06-15T10:30:02%2B05:30&until=2024-06-15T10:30:04%2B05:30": "3 2", "cause=unheard_of": "",
	} {
		var ids []string
		for _, id := range strings.Fields(want) {
			ids = append(ids, "call_000"+id)
		}
		listed, _ := h.walk("/calls?"+query, "call_sid", 2)
		var exported []string
		for _, row := range h.csv("?" + query) {
			exported = append(exported, row[0])
		}
		if !slices.Equal(listed, ids) || !slices.Equal(exported, ids) {
			t.Errorf("%q lists %v and exports %v, want %v", query, listed, exported, ids)
		}
	}
	for query, field := range map[string]string{"party=12": "party", "virtual_number=x": "virtual_number", "answered=yes": "answered", "cause=A%3B": "cause", "since=now": "since"} {
		h.own("GET", "/calls?"+query, "").want(400)
		if a := h.own("GET", "/calls.csv?"+query, "").want(400); a.text("field") != field {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

func TestATableOfCallsIsWholeAndCalculatesNothing(t *testing.T) {
	h := newHarness(t)
	texts := []string{`=1+1`, `+1`, `-1`, `@SUM(A1)`, "\tx", "＝1", `a,"b"`, "plain", "two\nlines"}
	h.keepCalls(len(texts), func(i int, c *masking.Call) { c.CustomField = texts[i] })
	raw, err := h.export("")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(raw, "\r\n")
	if want := "call_sid,greenvn_id,greenpin_id,virtual_number,from,to,direction,status,call_type,dial_call_status,start_time,answer_time,end_time," +
		"dial_call_duration,on_call_duration,cause,reason,recorded,custom_field"; first != want {
		t.Errorf("names %q", first)
	}
	rows := h.csv("")
	slices.Reverse(rows)
	for i, want := range []string{`'=1+1`, `'+1`, `'-1`, `'@SUM(A1)`, "'\tx", "'＝1", `a,"b"`, "plain", "two\nlines"} {
		if got := rows[i][18]; got != want {
			t.Errorf("%q is written %q, want %q", texts[i], got, want)
		}
	}
	if got := strings.Join(rows[7], "|"); got != "call_0007|||"+vn1+"|"+alice+"|"+bob+"|from_to|ended|incomplete|busy|2024-06-15T10:30:07+05:30||2024-06-15T10:30:16+05:30|0|0|busy||false|plain" {
		t.Errorf("a row: %s", got)
	}
	if a := h.own("HEAD", "/calls.csv", ""); a.status != 200 {
		t.Errorf("HEAD is %d", a.status)
	}
}

func TestATableOfManyPagesHoldsEveryCallOnceThoughOthersBegin(t *testing.T) {
	h := newHarness(t)
	h.keepCalls(1234, func(int, *masking.Call) {})
	seen := map[string]bool{}
	for _, row := range h.csv("?cause=busy") {
		if seen[row[0]] {
			t.Fatalf("%s comes twice", row[0])
		}
		seen[row[0]] = true
	}
	if len(seen) != 1234 {
		t.Errorf("%d calls, want 1234", len(seen))
	}
}

// failing is a store that cannot read calls any more after so many pages.
type failing struct {
	store.Store
	pages int
}

func (f *failing) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	return f.Store.View(ctx, func(ctx context.Context, tx store.Reader) error { return fn(ctx, failingReader{tx, f}) })
}

type failingReader struct {
	store.Reader
	of *failing
}

func (r failingReader) Calls(ctx context.Context, f store.CallFilter) ([]masking.Call, error) {
	if r.of.pages--; r.of.pages < 0 {
		return nil, errors.New("the disk is gone")
	}
	return r.Reader.Calls(ctx, f)
}

// served is the API on another store.
func (h *harness) served(s store.Store) *httptest.Server {
	h.Helper()
	log := slog.New(slog.NewJSONHandler(h.logs, nil))
	plane, err := control.New(control.Options{Store: s, Clock: h.clock, Random: rand.Reader, Log: log, TokenKey: bytes.Repeat([]byte{7}, 32),
		TrunkSecrets: sealer{}, WebhookSecrets: sealer{}})
	if err != nil {
		h.Fatal(err)
	}
	handler, err := api.New(api.Options{Plane: plane, AdminToken: adminToken, Clock: h.clock, Random: rand.Reader, Log: log})
	if err != nil {
		h.Fatal(err)
	}
	server := httptest.NewServer(handler)
	h.Cleanup(server.Close)
	return server
}

func TestATableThatCannotBeReadToItsEndIsCutOff(t *testing.T) {
	h := newHarness(t)
	h.keepCalls(250, func(int, *masking.Call) {})
	for _, c := range []struct {
		pages, rows int
		whole       bool
	}{{3, 250, true}, {2, 200, false}, {1, 100, false}} {
		server := h.served(&failing{h.store, c.pages})
		raw, err := h.exportFrom(server.URL, "")
		if c.whole != (err == nil) {
			t.Errorf("after %d pages: %v", c.pages, err)
		}
		if rows := strings.Count(raw, "\r\n") - 1; rows != c.rows {
			t.Errorf("after %d pages %d rows came, want %d", c.pages, rows, c.rows)
		}
	}
	// What fails before anything is said is an error like others.
	server := h.served(&failing{h.store, 0})
	if raw, err := h.exportFrom(server.URL, ""); err == nil || !strings.Contains(raw, `"temporarily_unavailable"`) {
		t.Errorf("%v: %q", err, raw)
	}
	if strings.Contains(h.logs.String(), `"msg":"panic"`) {
		t.Error("the log tells of a panic")
	}
}
