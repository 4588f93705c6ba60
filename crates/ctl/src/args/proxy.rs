//! `create httpproxy`.

use clap::Args;

/// A rule is `HOST/PATH=ENDPOINT,ENDPOINT`: without HOST it takes any host, and a PATH that ends in `*` is a prefix.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ctl create httpproxy demo --port 10080 --rule /api*=http://10.0.0.1:8080,http://10.0.0.2:8080"
)]
pub(crate) struct HttpProxy {
    /// Name of the HTTPServer; pipelines are NAME-0, NAME-1 and so on
    pub(crate) name: String,
    /// Port to listen on
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Which requests go where; may be given many times
    #[arg(long = "rule", required = true, value_name = "HOST/PATH=ENDPOINTS")]
    pub(crate) rules: Vec<String>,
    /// Serve https
    #[arg(long)]
    pub(crate) tls: bool,
    /// Take certificates from the AutoCertManager, by the name that clients ask for
    #[arg(long)]
    pub(crate) auto_cert: bool,
    /// PEM of the authorities whose client certificates are required
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert_file: Option<String>,
    /// PEM of a certificate; as many as keys
    #[arg(long = "cert-file", value_name = "FILE")]
    pub(crate) cert_files: Vec<String>,
    /// PEM of a certificate's key, in the order of the certificates
    #[arg(long = "key-file", value_name = "FILE")]
    pub(crate) key_files: Vec<String>,
    /// Address that the certificate authority writes to
    #[arg(long, value_name = "EMAIL", requires = "auto_cert_domain_name")]
    pub(crate) auto_cert_email: Option<String>,
    /// Name to get a certificate for
    #[arg(long, value_name = "DOMAIN", requires = "auto_cert_email")]
    pub(crate) auto_cert_domain_name: Option<String>,
    /// Setting of the name's DNS provider; may be given many times
    #[arg(long = "dns-provider", value_name = "KEY=VALUE", requires = "auto_cert_domain_name")]
    pub(crate) dns_provider: Vec<String>,
}
