// Command apidoc is a plugin of protoc that writes the page of the operator API: page.md.tmpl, the examples, and a reference of the
// services and messages with the comments of operator.proto.
package main

import (
	"embed"
	"fmt"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

//go:embed page.md.tmpl example
var files embed.FS

func main() {
	protogen.Options{}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		for _, f := range p.Files {
			if !f.Generate {
				continue
			}
			page, err := head()
			if err != nil {
				return err
			}
			g := p.NewGeneratedFile("api.md", "")
			g.P(page)
			for _, s := range f.Services {
				service(g, s)
			}
			g.P("## Messages")
			for _, m := range f.Messages {
				message(g, m)
			}
			for _, e := range f.Enums {
				enum(g, e)
			}
		}
		return nil
	})
}

// head returns the part of the page that is written by hand, with the examples in place of their file names.
func head() (string, error) {
	raw, err := files.ReadFile("page.md.tmpl")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		name, is := strings.CutPrefix(strings.TrimSpace(line), "EXAMPLE ")
		if !is {
			b.WriteString(line)
			continue
		}
		example, err := files.ReadFile("example/" + name)
		if err != nil {
			return "", err
		}
		language := map[string]string{"call.sh": "sh", "main.go": "go", "call.ts": "ts"}[name]
		fmt.Fprintf(&b, "```%s\n%s```\n", language, example)
	}
	return strings.TrimSpace(b.String()) + "\n", nil
}

func service(g *protogen.GeneratedFile, s *protogen.Service) {
	g.P("## ", s.Desc.Name(), "\n\n", text(s.Comments.Leading), "\n")
	for _, m := range s.Methods {
		g.P("### ", m.Desc.Name(), "\n")
		g.P("`POST /", s.Desc.FullName(), "/", m.Desc.Name(), "`: ", link(m.Input), " → ", stream(m), link(m.Output), "\n")
		if about := text(m.Comments.Leading); about != "" {
			g.P(about, "\n")
		}
	}
}

func stream(m *protogen.Method) string {
	if m.Desc.IsStreamingServer() {
		return "a stream of "
	}
	return ""
}

func message(g *protogen.GeneratedFile, m *protogen.Message) {
	if m.Desc.IsMapEntry() {
		return
	}
	g.P("\n### ", m.Desc.Name(), "\n")
	if about := text(m.Comments.Leading); about != "" {
		g.P(about, "\n")
	}
	if len(m.Fields) == 0 {
		g.P("No fields.")
		return
	}
	g.P("| field | type | meaning |\n|---|---|---|")
	for _, f := range m.Fields {
		g.P("| `", f.Desc.JSONName(), "` | ", typeOf(f), " | ", strings.ReplaceAll(text(f.Comments.Leading+f.Comments.Trailing), "|", `\|`), " |")
	}
}

func enum(g *protogen.GeneratedFile, e *protogen.Enum) {
	g.P("\n### ", e.Desc.Name(), "\n\n", text(e.Comments.Leading), "\n\n| value | meaning |\n|---|---|")
	for _, v := range e.Values {
		g.P("| `", v.Desc.Name(), "` | ", text(v.Comments.Leading+v.Comments.Trailing), " |")
	}
}

// typeOf returns the type of a field in JSON.
func typeOf(f *protogen.Field) string {
	if f.Desc.IsMap() {
		return "object: string → " + scalar(f.Message.Fields[1])
	}
	if f.Desc.IsList() {
		return "list of " + scalar(f)
	}
	return scalar(f)
}

func scalar(f *protogen.Field) string {
	switch f.Desc.Kind() {
	case protoreflect.MessageKind:
		switch f.Message.Desc.FullName() {
		case "google.protobuf.Timestamp":
			return "time"
		case "google.protobuf.Duration":
			return "duration"
		}
		return link(f.Message)
	case protoreflect.EnumKind:
		return fmt.Sprintf("[%s](#%s)", f.Enum.Desc.Name(), strings.ToLower(string(f.Enum.Desc.Name())))
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return "string, " + f.Desc.Kind().String()
	case protoreflect.BoolKind:
		return "boolean"
	case protoreflect.StringKind:
		return "string"
	}
	return "number, " + f.Desc.Kind().String()
}

func link(m *protogen.Message) string {
	return fmt.Sprintf("[%s](#%s)", m.Desc.Name(), strings.ToLower(string(m.Desc.Name())))
}

// text returns a comment as a paragraph.
func text(c protogen.Comments) string { return strings.Join(strings.Fields(string(c)), " ") }
