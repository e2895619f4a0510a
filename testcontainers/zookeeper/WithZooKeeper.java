import java.io.File;
import java.io.FileReader;
import java.net.InetSocketAddress;
import java.util.Properties;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * A broker of a release before KRaft, and the ZooKeeper that it needs, in one process: they live and die together.
 *
 *   java WithZooKeeper server.properties
 *
 * ZooKeeper listens where zookeeper.connect says, and keeps its files in the folder test.zookeeper.dir.
 */
public final class WithZooKeeper {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(args[0])) {
            properties.load(reader);
        }
        String[] address = properties.getProperty("zookeeper.connect").split(":");
        File folder = new File(properties.getProperty("test.zookeeper.dir"));
        ServerCnxnFactory factory = ServerCnxnFactory.createFactory(
            new InetSocketAddress(address[0], Integer.parseInt(address[1])), 100);
        ZooKeeperServer server = new ZooKeeperServer(folder, folder, 2000);
        factory.startup(server);
        // A broker that was killed left its session, and would not be let in while it lasts.
        for (long session : server.getZKDatabase().getSessions()) {
            server.closeSession(session);
        }
        kafka.Kafka.main(args);
    }
}
