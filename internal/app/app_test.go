package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T, dir string, more ...string) Options {
	t.Helper()
	c, err := config.Load(config.Sources{Environ: append([]string{"TANDEM_DATA_DIR=" + dir, "TANDEM_HTTP_LISTEN=127.0.0.1:0",
		"TANDEM_OPS_LISTEN=127.0.0.1:0", "TANDEM_SIP_LISTEN=udp://127.0.0.1:0,tcp://127.0.0.1:0", "TANDEM_MEDIA_PORTS=0"}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Config: c, Log: slog.New(slog.DiscardHandler), Version: "test"}
}

func start(t *testing.T, o Options) *App {
	t.Helper()
	a, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, a) })
	return a
}

func stop(t *testing.T, a *App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestTheAddressesInUseAreWrittenOnceAllListen(t *testing.T) {
	dir := t.TempDir()
	a := start(t, options(t, dir))
	b, err := os.ReadFile(filepath.Join(dir, "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var told Addresses
	if err := json.Unmarshal(b, &told); err != nil {
		t.Fatal(err)
	}
	if told.HTTP != a.Addrs().HTTP || told.Ops != a.Addrs().Ops || len(told.SIP) != 2 {
		t.Errorf("addresses.json tells %+v, in use are %+v", told, a.Addrs())
	}
	for _, url := range []string{"http://" + told.Ops + "/readyz", "http://" + told.HTTP + "/openapi.json"} {
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", url, res.StatusCode)
		}
	}
}

func TestOldAddressesAreGoneBeforeTheNewOnesListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, addressesFile)
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil { // left by kill -9
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := Start(context.Background(), options(t, dir, "TANDEM_HTTP_LISTEN="+taken.Addr().String())); err == nil {
		t.Fatal("started on a taken port")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a start that failed left the addresses of an earlier one")
	}
	a, err := Start(context.Background(), options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, a)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a server that has stopped still tells where it listened")
	}
}

func TestTheAdminTokenIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	a, err := Start(context.Background(), options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	first, fresh := a.AdminToken()
	if !fresh || !strings.HasPrefix(first, "tda_") {
		t.Errorf("the first start gave a token that is fresh %v", fresh)
	}
	stop(t, a)
	if again, fresh := start(t, options(t, dir)).AdminToken(); again != first || fresh {
		t.Error("the second start made another token")
	}
}

func TestASecondServerOnOneFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, options(t, dir))
	_, err := Start(context.Background(), options(t, dir))
	if err == nil || !strings.Contains(err.Error(), "in use by another tandem") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
}

func TestAStartThatFailsSaysWhyInOneLineAndLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, masterFile), []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"http port taken": options(t, t.TempDir(), "TANDEM_HTTP_LISTEN="+taken.Addr().String()),
		"ops port taken":  options(t, t.TempDir(), "TANDEM_OPS_LISTEN="+taken.Addr().String()),
		"sip port taken":  options(t, t.TempDir(), "TANDEM_SIP_LISTEN=tcp://"+taken.Addr().String()),
		"broken key":      options(t, broken),
		"no database":     options(t, t.TempDir(), "TANDEM_DATABASE_URL=sqlite:/nowhere/at/all/tandem.db"),
	} {
		_, err := Start(context.Background(), o)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
		// The folder is free again, and goleak sees what else is left.
		lock, err := lockFolder(o.Config.DataDir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = lock.Close()
	}
}

func TestKeysDifferByPurposeAndStay(t *testing.T) {
	master := strings.Repeat("ab", 32)
	a, err := deriveKey(master, "a")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := deriveKey(master, "a")
	b, _ := deriveKey(master, "b")
	if string(a) != string(again) || string(a) == string(b) || len(a) != 32 {
		t.Error("keys are not one for each purpose")
	}
	for _, bad := range []string{"", "xyz", "abcd"} {
		if _, err := deriveKey(bad, "a"); err == nil {
			t.Errorf("%q was taken as a master key", bad)
		}
		a := &App{o: Options{Config: config.Config{DataDir: t.TempDir()}}}
		path := filepath.Join(a.o.Config.DataDir, masterFile)
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.key("a"); err == nil || !strings.HasPrefix(err.Error(), path+" is damaged: copy it from another node") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
