package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/config"
)

// clientVariables are the TANDEM_ variables that the client commands read and
// that are no settings of the server.
func clientVariables() []string {
	return []string{envServer, envTenant, envAccountSID, envToken, envTokenFile, envContext}
}

// A settingsFlags holds the flags of a command that reads settings.
type settingsFlags struct {
	file *string
}

// databaseSettings are those that a command reads which works on the database alone.
func databaseSettings() []string {
	return []string{"data-dir", "database-url", "database-password", "database-password-file"}
}

// settingsOn gives a command --config and a flag for each setting. If the command reads
// some of them only, by their flags, its help shows no others; they may be given, as
// they may stand in its file.
func settingsOn(cmd *cobra.Command, reads ...string) settingsFlags {
	flags := cmd.Flags()
	for _, f := range config.Fields() {
		flags.String(f.Flag, f.Default, strings.ReplaceAll(f.Doc, "`", "")) // pflag takes what is quoted so for the name of a type
		flags.Lookup(f.Flag).Hidden = len(reads) > 0 && !slices.Contains(reads, f.Flag)
	}
	return settingsFlags{file: flags.String("config", "", "YAML file with settings")}
}

// load reads the settings from all sources. Of flags only those count that were
// given: the defaults shown in the help are config's own.
func (s settingsFlags) load(p *program, cmd *cobra.Command) (config.Config, error) {
	given := map[string]string{}
	for _, f := range config.Fields() {
		if flag := cmd.Flags().Lookup(f.Flag); flag.Changed {
			given[f.Flag] = flag.Value.String()
		}
	}
	return config.Load(config.Sources{File: *s.file, Environ: p.Environ, Flags: given, Others: clientVariables()})
}

func (p *program) configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "Check, print and explain settings", GroupID: groupRun}

	check := &cobra.Command{Use: "check", Short: "Tell everything that is wrong with the settings, at once", Args: exactly()}
	checked := settingsOn(check)
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := checked.load(p, cmd); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.Out, "the settings are right")
		return err
	}

	show := &cobra.Command{Use: "print", Short: "Print the settings in effect and where each comes from, secrets hidden", Args: exactly()}
	shown := settingsOn(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := shown.load(p, cmd)
		if err != nil {
			return err
		}
		return c.Print(p.Out)
	}

	doc := &cobra.Command{Use: "doc", Short: "Print the manual of all settings as Markdown", Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return config.Doc(p.Out) }}

	group.AddCommand(check, show, doc)
	return group
}

// maxSmallFile bounds the files that commands read whole: tokens, contexts, addresses.
const maxSmallFile = 1 << 20

// readSmall reads a file that a person or a program of ours wrote.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSmallFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxSmallFile)
	}
	return os.ReadFile(path)
}

// maxSecret bounds a password or token.
const maxSecret = 4096

// readSecret reads the first line of a file, or of in, the standard input, where path
// is "-". On the command line a secret would be in every list of processes.
func readSecret(in io.Reader, path string) (string, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxSecret+1)).ReadString('\n')
	switch {
	case err != nil && err != io.EOF:
		return "", err
	case len(line) > maxSecret:
		return "", fmt.Errorf("a secret of more than %d bytes", maxSecret)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
