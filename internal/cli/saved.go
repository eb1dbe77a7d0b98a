package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// A target is a server and what one is allowed there.
type target struct {
	Server     string `json:"server,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
	AccountSID string `json:"account_sid,omitempty"`
	Token      string `json:"token,omitempty"`
	AdminToken string `json:"admin_token,omitempty"`
}

// or fills what is empty from another target.
func (t target) or(o target) target {
	fill := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	fill(&t.Server, o.Server)
	fill(&t.Tenant, o.Tenant)
	fill(&t.AccountSID, o.AccountSID)
	fill(&t.Token, o.Token)
	fill(&t.AdminToken, o.AdminToken)
	return t
}

// savedContexts is the file of saved contexts. It holds secrets.
type savedContexts struct {
	Current  string            `json:"current"`
	Contexts map[string]target `json:"contexts"`
}

// contextsPath is where the user's contexts are: as the XDG Base Directory
// Specification says.
func (p *program) contextsPath() (string, error) {
	dir := p.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := p.env("HOME")
		if home == "" {
			return "", errors.New("saved contexts need HOME or XDG_CONFIG_HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "tandem", "contexts.json"), nil
}

func (p *program) readContexts() (savedContexts, error) {
	saved := savedContexts{Contexts: map[string]target{}}
	path, err := p.contextsPath()
	if err != nil {
		return saved, err
	}
	raw, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved, nil
	}
	if err != nil {
		return saved, fmt.Errorf("saved contexts: %w", err)
	}
	if err := json.Unmarshal(raw, &saved); err != nil {
		return saved, fmt.Errorf("saved contexts: %s is damaged: %w", path, err)
	}
	if saved.Contexts == nil { // the file said null
		saved.Contexts = map[string]target{}
	}
	return saved, nil
}

// writeContexts replaces the file as a whole, readable by its owner alone.
func (p *program) writeContexts(saved savedContexts) error {
	path, err := p.contextsPath()
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(path), ".contexts-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	_, err = next.Write(append(raw, '\n'))
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save contexts: %w", err), os.Remove(next.Name()))
	}
	return nil
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func (p *program) contextCommand() *cobra.Command {
	group := &cobra.Command{
		Use: "context", Short: "Save servers and credentials under a name", GroupID: groupManage,
		Long: "Save servers and credentials under a name, in contexts.json in the user's configuration folder,\n" +
			"readable by the user alone. A context's credentials are sent to its own server only.",
	}
	group.AddCommand(p.contextSet(), p.contextUse(), p.contextList(), p.contextDelete())
	return group
}

func (p *program) contextSet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Save or change a context; the first one is used from then on", Args: exactly("NAME"),
		Example: "  tandem context set acme --server http://127.0.0.1:8080 --tenant acme --account-sid AC… --token -",
	}
	var given target
	cmd.Flags().StringVar(&given.Server, "server", "", "base URL of the API")
	cmd.Flags().StringVar(&given.Tenant, "tenant", "", "tenant id")
	cmd.Flags().StringVar(&given.AccountSID, "account-sid", "", "the tenant's Account SID")
	cmd.Flags().StringVar(&given.Token, "token", "", "the tenant's token; - reads it from the first line of stdin")
	cmd.Flags().StringVar(&given.AdminToken, "admin-token", "", "the operator's token; - reads it from the first line of stdin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !contextName.MatchString(args[0]) {
			return misusef(cmd, "%q: a name has 1 to 63 letters, digits, -, _ or .", args[0])
		}
		if given.Token == "-" && given.AdminToken == "-" {
			return misusef(cmd, "only one of --token and --admin-token can come from stdin")
		}
		for _, secret := range []*string{&given.Token, &given.AdminToken} {
			if *secret == "-" {
				line, err := readSecret(p.In, "-")
				if *secret = strings.TrimSpace(line); *secret == "" {
					return errors.Join(errors.New("stdin gave no token"), err)
				}
			}
		}
		saved, err := p.readContexts()
		if err != nil {
			return err
		}
		merged := given.or(saved.Contexts[args[0]])
		if merged.Server == "" {
			return misusef(cmd, "--server is missing")
		}
		saved.Contexts[args[0]] = merged
		if saved.Current == "" {
			saved.Current = args[0]
		}
		return p.writeContexts(saved)
	}
	return cmd
}

func (p *program) contextUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a context from now on", Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := p.readContexts()
			if err != nil {
				return err
			}
			if _, ok := saved.Contexts[args[0]]; !ok {
				return fmt.Errorf("no context %q; see \"tandem context list\"", args[0])
			}
			saved.Current = args[0]
			return p.writeContexts(saved)
		},
	}
}

func (p *program) contextList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List contexts, without their secrets", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			saved, err := p.readContexts()
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(t, "\tNAME\tSERVER\tTENANT\tMAY ACT AS") // kept until Flush, which tells
			for _, name := range slices.Sorted(maps.Keys(saved.Contexts)) {
				c := saved.Contexts[name]
				current := ""
				if name == saved.Current {
					current = "*"
				}
				_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", current, plain(name), plain(c.Server), plain(c.Tenant), c.mayActAs())
			}
			return t.Flush()
		},
	}
}

// mayActAs tells which credentials there are.
func (t target) mayActAs() string {
	var who []string
	if t.AdminToken != "" {
		who = append(who, "operator")
	}
	if t.AccountSID != "" && t.Token != "" {
		who = append(who, "tenant")
	}
	return strings.Join(who, ", ")
}

func (p *program) contextDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Forget a context and its secrets", Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := p.readContexts()
			if err != nil {
				return err
			}
			if _, ok := saved.Contexts[args[0]]; !ok {
				return fmt.Errorf("no context %q", args[0])
			}
			delete(saved.Contexts, args[0])
			if saved.Current == args[0] {
				saved.Current = ""
			}
			return p.writeContexts(saved)
		},
	}
}
