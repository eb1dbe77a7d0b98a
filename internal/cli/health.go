package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// probeTimeout is how long a server may take to say that it is ready: its own
// checks give up after a second each.
const probeTimeout = 5 * time.Second

func (p *program) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Ask a server whether it is ready; exit code 0 if it is", Args: exactly(), GroupID: groupRun,
		Long: "Ask the server on this machine whether it takes calls and requests. Its ops address comes from\n" +
			"addresses.json in the data folder, or from --url.",
	}
	settings := settingsOn(cmd, "data-dir")
	address := cmd.Flags().String("url", "", "the ops address, as http://127.0.0.1:9090")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *address == "" {
			c, err := settings.load(p, cmd)
			if err != nil {
				return err
			}
			if *address, err = opsURL(c.DataDir); err != nil {
				return err
			}
		}
		target, err := url.Parse(*address)
		if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
			return misusef(cmd, "--url %q: wants http://HOST:PORT", *address)
		}
		answer, err := probe(cmd.Context(), target.JoinPath("readyz").String())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.Out, answer)
		return err
	}
	return cmd
}

// opsURL reads where the server of a data folder has its ops address.
func opsURL(dataDir string) (string, error) {
	raw, err := readSmall(filepath.Join(dataDir, "addresses.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no server runs on %s: there is no addresses.json", dataDir)
	}
	if err != nil {
		return "", err
	}
	var addresses struct {
		Ops string `json:"ops"`
	}
	if err := json.Unmarshal(raw, &addresses); err != nil || addresses.Ops == "" {
		return "", fmt.Errorf("addresses.json in %s names no ops address", dataDir)
	}
	return "http://" + reachable(addresses.Ops), nil
}

// reachable gives an address that one can connect to for one that a server
// listens on: "all addresses" becomes loopback.
func reachable(hostPort string) string {
	at, err := netip.ParseAddrPort(hostPort)
	if err != nil || !at.Addr().IsUnspecified() {
		return hostPort
	}
	host := "127.0.0.1"
	if at.Addr().Is6() && !at.Addr().Is4In6() {
		host = "::1"
	}
	return net.JoinHostPort(host, fmt.Sprint(at.Port()))
}

// probe asks and gives the answer's text if it is 200.
func probe(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	// A client of its own: a proxy of the environment must not answer for us.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, text)
	}
	return text, nil
}
