package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func TestASecretIsTheFirstLineOfAFileOrOfTheStandardInput(t *testing.T) {
	for text, want := range map[string]string{"s3cret": "s3cret", "s3cret\n": "s3cret", "s3cret\r\nmore\n": "s3cret", " with space \n": " with space ", "": ""} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readSecret(strings.NewReader("other"), path); err != nil || got != want {
			t.Errorf("%q in a file: %q, %v", text, got, err)
		}
		if got, err := readSecret(strings.NewReader(text), "-"); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	long := strings.Repeat("x", maxSecret)
	if got, err := readSecret(strings.NewReader(long), "-"); err != nil || got != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := readSecret(strings.NewReader(long+"y"), "-"); err == nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("a secret that is too long: %v", err)
	}
	if _, err := readSecret(nil, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}

func TestEachSettingOfATenantHasAFlag(t *testing.T) {
	var set ownSettings
	cmd := &cobra.Command{}
	set.on(cmd)
	var args []string
	for _, flag := range regexp.MustCompile(`(?m)^ +(--[a-z-]+)`).FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
		args = append(args, flag[1]+"=1")
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(set.given(cmd))
	if err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := json.Unmarshal(body, &given); err != nil {
		t.Fatal(err)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[client.SettingsChange]()) {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if _, ok := given[key]; !ok {
			t.Errorf("no flag of \"settings update\" sets %s", key)
		}
	}
}

func TestTheHelpShowsEachFlagWithItsTypeAndTheSettingsThatACommandReads(t *testing.T) {
	p := &program{}
	for _, c := range []struct {
		cmd   *cobra.Command
		shows []string
		hides []string
	}{
		{p.serveCommand(), []string{"--sip-listen string", "--database-url string"}, []string{"--database-url sqlite:PATH"}},
		{p.backupCommand(), []string{"--data-dir", "--database-url", "--database-password-file", "--blob-url", "--config"}, []string{"--sip-listen"}},
		{p.restoreCommand(), []string{"--database-url", "--replace"}, []string{"--http-listen"}},
		{p.healthCommand(), []string{"--data-dir", "--url"}, []string{"--database-url"}},
	} {
		usage := c.cmd.Flags().FlagUsages()
		for _, text := range c.shows {
			if !strings.Contains(usage, text) {
				t.Errorf("%s does not show %s: %s", c.cmd.Name(), text, usage)
			}
		}
		for _, text := range c.hides {
			if strings.Contains(usage, text) {
				t.Errorf("%s shows %s", c.cmd.Name(), text)
			}
		}
	}
}
