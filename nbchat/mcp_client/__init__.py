"""MCP servers whose tools the model may call: `McpServer`, which `nbchat.mcp` returns.

Connections to MCP servers and their tools belong here. Only the modules `connection`, `connector`,
`http_transport` and `stdio_transport` import the library `mcp`, which is an optional extra; they are imported
at the first use of a server. Resources, prompts, sampling, elicitation and roots are not offered.
"""
