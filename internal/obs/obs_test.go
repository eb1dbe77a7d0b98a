package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/obs"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestLogsAreJSONWhereNobodyReadsThemOnATerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var buffer bytes.Buffer
	for _, format := range []string{"auto", "json"} {
		log, err := obs.NewLogger(&buffer, format, slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello", "n", 1)
	}
	log, err := obs.NewLogger(file, "auto", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	written, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(buffer.String() + string(written)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["msg"] != "hello" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestTextIsWrittenWhenAskedForAndOnACharacterDevice(t *testing.T) {
	var buffer bytes.Buffer
	log, err := obs.NewLogger(&buffer, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	if !strings.Contains(buffer.String(), "msg=hello") {
		t.Errorf("got %q", &buffer)
	}
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	log, err = obs.NewLogger(device, "auto", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	if _, text := log.Handler().(*slog.TextHandler); !text {
		t.Errorf("a character device got %T", log.Handler())
	}
}

func TestTheLevelHoldsAndCanChangeLater(t *testing.T) {
	var buffer bytes.Buffer
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	log, err := obs.NewLogger(&buffer, "text", &level)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("one")
	log.Warn("two")
	level.Set(slog.LevelDebug)
	log.Debug("three")
	if s := buffer.String(); strings.Contains(s, "one") || !strings.Contains(s, "two") || !strings.Contains(s, "three") {
		t.Errorf("got %q", s)
	}
}

func TestAnUnknownLogFormatIsRefused(t *testing.T) {
	if log, err := obs.NewLogger(&bytes.Buffer{}, "xml", slog.LevelInfo); err == nil || log != nil {
		t.Errorf("got %v, %v", log, err)
	}
}

func TestHealthIsOKWhileNothingIsReady(t *testing.T) {
	h := obs.NewOps(obs.OpsOptions{Checks: []obs.Check{{Name: "store", Ready: func(context.Context) error { return errors.New("away") }}}})
	if w := get(h, "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func TestReadinessNamesTheFailingChecksAndNothingElse(t *testing.T) {
	var log bytes.Buffer
	logger, err := obs.NewLogger(&log, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("dial db.internal: refused")
	var store, drain error
	h := obs.NewOps(obs.OpsOptions{Log: logger, Checks: []obs.Check{
		{Name: "store", Ready: func(context.Context) error { return store }},
		{Name: "sip", Ready: func(context.Context) error { return nil }},
		{Name: "drain", Ready: func(context.Context) error { return drain }},
	}})
	for _, step := range []struct {
		store, drain error
		status       int
		body         string
		logged       string // what one probe and a second, equal one write together
	}{
		{nil, nil, 200, "ready\n", ""},
		{failure, nil, 503, "not ready: store\n", "failing.store=\"dial db.internal: refused\""},
		{failure, failure, 503, "not ready: store, drain\n", "failing.drain="},
		{nil, failure, 503, "not ready: drain\n", "failing.drain="},
		{nil, nil, 200, "ready\n", "msg=ready"},
	} {
		store, drain = step.store, step.drain
		log.Reset()
		for range 2 {
			if w := get(h, "/readyz"); w.Code != step.status || w.Body.String() != step.body {
				t.Errorf("store %v, drain %v: got %d %q", store, drain, w.Code, w.Body)
			}
		}
		if lines := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), step.logged) || lines > 1 || (step.logged != "") != (lines == 1) {
			t.Errorf("store %v, drain %v: logged %q, want one line with %q", store, drain, &log, step.logged)
		}
	}
}

func TestAHangingCheckIsGivenUpAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := obs.NewOps(obs.OpsOptions{Checks: []obs.Check{{Name: "store", Ready: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}}})
		if w := get(h, "/readyz"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "not ready: store\n" {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
	})
}

func TestAProberThatLeavesIsNoFailure(t *testing.T) {
	var log bytes.Buffer
	logger, err := obs.NewLogger(&log, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h := obs.NewOps(obs.OpsOptions{Log: logger, Checks: []obs.Check{{Name: "store", Ready: func(ctx context.Context) error {
		cancel()
		return ctx.Err()
	}}}})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil))
	if log.Len() != 0 {
		t.Errorf("logged %q", &log)
	}
}

func TestMetricsShowTheRuntimeTheProcessAndOurs(t *testing.T) {
	registry := obs.NewRegistry()
	calls := prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_calls_total", Help: "Calls."})
	registry.MustRegister(calls)
	calls.Inc()
	body := get(obs.NewOps(obs.OpsOptions{Metrics: registry}), "/metrics").Body.String()
	for _, metric := range []string{"go_goroutines ", "process_open_fds ", "tandem_calls_total 1"} {
		if !strings.Contains(body, metric) {
			t.Errorf("no %s", metric)
		}
	}
	if body := get(obs.NewOps(obs.OpsOptions{Metrics: obs.NewRegistry()}), "/metrics").Body.String(); strings.Contains(body, "tandem_calls_total") {
		t.Error("two registries share a counter")
	}
}

func TestProfilesAreServedButNotTheCommandLine(t *testing.T) {
	h := obs.NewOps(obs.OpsOptions{})
	for path, status := range map[string]int{
		"/debug/pprof/":          http.StatusOK,
		"/debug/pprof/goroutine": http.StatusOK,
		"/debug/pprof/symbol":    http.StatusOK,
		"/debug/pprof/cmdline":   http.StatusNotFound,
		"/metrics":               http.StatusNotFound,
		"/":                      http.StatusNotFound,
	} {
		if w := get(h, path); w.Code != status {
			t.Errorf("%s: got %d, want %d", path, w.Code, status)
		}
	}
}
